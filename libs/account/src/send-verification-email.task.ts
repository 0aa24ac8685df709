import { Config } from '@app/config';
import { type Mail, Mailer } from '@app/mail';
import { SkipRetry, Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { EmailVerifications } from './email-verifications.js';
import { LinkOfAnother } from './link-of-another.js';
import { mayTellOwner, ownerOf } from './owner-of-address.js';
import { sendMail } from './send-mail.js';
import { User } from './user.entity.js';
import { addressInUseMail, verificationMail } from './verification-mail.js';

const payload = z.object({ userId: z.uuid() });

/**
 * Mails a person the link that proves the address is theirs. Where the address is
 * another account's already, its owner is told instead, at most once an hour, and
 * nobody gets a link: here and not in the api, whose answer and time would tell.
 *
 * Run twice, it mails the same mail twice, under the same Message-ID.
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
    const mail = await this.mailFor(user, task.id);
    if (!mail) return;
    await sendMail(this.mailer, this.config.PUBLIC_URL, task, mail);
  }

  /** @returns undefined when none is to be sent. */
  private async mailFor(user: User, taskId: string): Promise<Omit<Mail, 'messageId'> | undefined> {
    const { manager } = this.dataSource;
    const owner = await ownerOf(manager, user.email);
    if (owner) return (await mayTellOwner(manager, owner, taskId)) ? addressInUseMail(owner) : undefined;
    const token = await this.issueToken(taskId, user);
    return token === undefined ? undefined : verificationMail(user.email, `${this.config.PUBLIC_URL}/verify-email?token=${token}`);
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
