import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { z } from 'zod';

const payload = z.object({});

/** How long links are kept after their time, because they count against an account's day; an interval of Postgres. */
const REMEMBERED = '1 day';

/** How long a notice that cannot be sent keeps the address it is for. */
const NOTICE_KEPT = '7 days';

/**
 * Deletes the links to accounts whose time was over a day before, and the notices
 * that could not be mailed within a week, once a day.
 *
 * Run twice, it finds nothing the second time.
 */
@Task({ type: 'account.purge_links', payload, maxRetry: 3, timeout: '5m', schedule: { cron: '40 3 * * *', missed: 'once' } })
export class PurgeAccountLinks implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('PurgeAccountLinks');

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const deleted = await task.transaction(async (manager) => {
      const remove = async (sql: string, time: string) => (await manager.query<[unknown, number]>(sql, [time]))[1];
      return {
        links: await remove('DELETE FROM account_link WHERE expires_at < now() - $1::interval', REMEMBERED),
        notices: await remove('DELETE FROM account_notice WHERE created_at < now() - $1::interval', NOTICE_KEPT),
      };
    });
    this.logger.log(deleted, 'purged expired links, and notices that could not be mailed');
  }
}
