import { Config } from '@app/config';
import { faultPoint } from '@app/faults';
import { Mailer, MailerBusy, MailRefused } from '@app/mail';
import { RetryIn, SkipRetry, Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { EmailVerifications, LinkOfAnother } from './email-verifications.js';
import { User } from './user.entity.js';
import { verificationMail } from './verification-mail.js';

const payload = z.object({ userId: z.uuid() });

/**
 * Mails a person the link that proves the address is theirs.
 *
 * Run twice, it mails the same link twice, under the same Message-ID.
 */
@Task({ type: 'account.send_verification_email', queue: 'critical', payload, maxRetry: 10, timeout: '30s' })
export class SendVerificationEmail implements TaskHandler<z.output<typeof payload>> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly verifications: EmailVerifications,
    private readonly mailer: Mailer,
    private readonly config: Config,
  ) {}

  async handle({ userId }: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const user = await this.dataSource.manager.findOneBy(User, { id: userId });
    // Deleted, verified meanwhile, or a decoy for an address that nobody has.
    if (!user || user.isEmailVerified) return;
    const token = await this.issueToken(task.id, user);
    if (token === undefined) return;
    await faultPoint('mail.before-send');
    const link = `${this.config.PUBLIC_URL}/verify-email?token=${token}`;
    const messageId = `<${task.id}@${new URL(this.config.PUBLIC_URL).hostname}>`;
    try {
      await this.mailer.send({ ...verificationMail(user, link), messageId }, task.signal);
    } catch (error) {
      if (error instanceof MailRefused) throw new SkipRetry(error.message, { cause: error });
      // Nothing is wrong with this mail: others were before it.
      if (error instanceof MailerBusy) throw new RetryIn('15s', error.message);
      throw error;
    }
  }

  private async issueToken(taskId: string, user: User): Promise<string | undefined> {
    try {
      return await this.verifications.issue(taskId, user);
    } catch (error) {
      // Redriven with another person's id: the token of this task is taken, for good.
      if (error instanceof LinkOfAnother) throw new SkipRetry('this task was for another person', { cause: error });
      throw error;
    }
  }
}
