import { Config } from '@app/config';
import { Mailer } from '@app/mail';
import { SkipRetry, Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { LinkOfAnother } from './link-of-another.js';
import { passwordResetMail } from './password-reset-mail.js';
import { PasswordResetLinks } from './password-reset-links.js';
import { sendMail } from './send-mail.js';
import { User } from './user.entity.js';

const payload = z.object({ userId: z.uuid() });

/**
 * Mails whoever has an account the link that gives it a new password.
 *
 * Run twice, it mails the same mail twice, under the same Message-ID.
 */
@Task({ type: 'account.send_password_reset', queue: 'critical', payload, maxRetry: 10, timeout: '30s' })
export class SendPasswordReset implements TaskHandler<z.output<typeof payload>> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly links: PasswordResetLinks,
    private readonly mailer: Mailer,
    private readonly config: Config,
  ) {}

  async handle({ userId }: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const user = await this.dataSource.manager.findOneBy(User, { id: userId });
    // Deleted, or a decoy for an address that no account has.
    if (!user?.isEmailVerified) return;
    const token = await this.issueToken(task.id, user);
    if (token === undefined) return;
    const link = `${this.config.PUBLIC_URL}/reset-password?token=${token}`;
    await sendMail(this.mailer, this.config.PUBLIC_URL, task, passwordResetMail(user, link));
  }

  private async issueToken(taskId: string, user: User): Promise<string | undefined> {
    try {
      return await this.links.issue(taskId, user);
    } catch (error) {
      // Redriven with another person's id: the token of this task is taken, for good.
      if (error instanceof LinkOfAnother) throw new SkipRetry('this task was for another person', { cause: error });
      throw error;
    }
  }
}
