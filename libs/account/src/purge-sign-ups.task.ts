import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { WAITING_TIME } from './waiting-time.js';

const payload = z.object({});

/** Rows of one transaction. */
const BATCH = 1_000;

/** Batches of one run: 100,000 sign-ups an hour. What is left waits for the next one, and reserves nothing. */
const BATCHES = 100;

/**
 * Deletes the sign-ups whose address was not verified within a day, once an hour.
 *
 * Run twice, it finds nothing the second time.
 */
@Task({ type: 'account.purge_sign_ups', payload, maxRetry: 3, timeout: '5m', schedule: { cron: '10 * * * *', missed: 'once' } })
export class PurgeSignUps implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('PurgeSignUps');

  constructor(private readonly dataSource: DataSource) {}

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    let deleted = 0;
    for (let batch = 0; batch < BATCHES && !task.signal.aborted; batch++) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `DELETE FROM users WHERE id = ANY (ARRAY(
           SELECT id FROM users WHERE NOT is_email_verified AND created_at <= now() - $1::interval
           ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
        [WAITING_TIME, BATCH],
      );
      deleted += count;
      if (count < BATCH) break;
    }
    this.logger.log({ deleted }, 'purged sign-ups that were not verified');
  }
}
