import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { z } from 'zod';
import { Sessions } from './sessions.js';

const payload = z.object({});

/** Rows of one transaction, and how many of these a run has: what is left waits for the next one, and is good for nothing. */
const BATCH = 1_000;
const BATCHES = 100;

/**
 * Deletes the sessions whose time is over, once an hour.
 *
 * Run twice, it finds nothing the second time.
 */
@Task({ type: 'account.purge_sessions', payload, maxRetry: 3, timeout: '5m', schedule: { cron: '20 * * * *', missed: 'once' } })
export class PurgeSessions implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('PurgeSessions');

  constructor(private readonly sessions: Sessions) {}

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    let deleted = 0;
    for (let batch = 0; batch < BATCHES && !task.signal.aborted; batch++) {
      const count = await this.sessions.purge(BATCH);
      deleted += count;
      if (count < BATCH) break;
    }
    this.logger.log({ deleted }, 'purged sessions whose time is over');
  }
}
