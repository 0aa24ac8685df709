import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { z } from 'zod';
import { EmailVerifications } from './email-verifications.js';

const payload = z.object({});

/**
 * Deletes the verification links whose time was over a day before, once a day.
 *
 * Run twice, it finds nothing the second time.
 */
@Task({ type: 'account.purge_email_verifications', payload, maxRetry: 3, timeout: '5m', schedule: { cron: '30 3 * * *', missed: 'once' } })
export class PurgeEmailVerifications implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('PurgeEmailVerifications');

  constructor(private readonly verifications: EmailVerifications) {}

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const deleted = await task.transaction((manager) => this.verifications.purge(manager));
    this.logger.log({ deleted }, 'purged expired verification links');
  }
}
