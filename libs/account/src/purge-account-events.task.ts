import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';

const payload = z.object({});

/** Rows of one transaction. */
const BATCH = 1_000;

/** Batches of one run: 500,000 events an hour. What is left waits for the next one. */
const BATCHES = 500;

/**
 * Deletes the account events that have had their time, once an hour.
 *
 * Run twice, it finds nothing the second time.
 */
@Task({ type: 'account.purge_events', payload, maxRetry: 3, timeout: '5m', schedule: { cron: '20 * * * *', missed: 'once' } })
export class PurgeAccountEvents implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('PurgeAccountEvents');

  constructor(private readonly dataSource: DataSource) {}

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    let deleted = 0;
    for (let batch = 0; batch < BATCHES && !task.signal.aborted; batch++) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `DELETE FROM account_event WHERE id = ANY (ARRAY(
           SELECT id FROM account_event WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
        [BATCH],
      );
      deleted += count;
      if (count < BATCH) break;
    }
    this.logger.log({ deleted }, 'purged account events');
  }
}
