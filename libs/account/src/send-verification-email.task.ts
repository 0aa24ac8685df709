import { Config } from '@app/config';
import { type Mail, Mailer } from '@app/mail';
import { SkipRetry, Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { EmailVerifications } from './email-verifications.js';
import { LinkOfAnother } from './link-of-another.js';
import { sendMail } from './send-mail.js';
import { User } from './user.entity.js';
import { addressInUseMail, verificationMail } from './verification-mail.js';

const payload = z.object({ userId: z.uuid() });

/** How often at most the owner of an address is told of others' sign-ups with it; an interval of Postgres. */
const BETWEEN_NOTICES = '1 hour';

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
    const owner = await this.findOwner(user.email);
    if (owner) return (await this.mayNotify(owner, taskId)) ? addressInUseMail(owner) : undefined;
    const token = await this.issueToken(taskId, user);
    return token === undefined ? undefined : verificationMail(user.email, `${this.config.PUBLIC_URL}/verify-email?token=${token}`);
  }

  /** Whose address it is, by a verification. */
  private async findOwner(email: string): Promise<User | undefined> {
    const owner = await this.dataSource.manager
      .createQueryBuilder(User, 'users')
      .where('lower(users.email) = lower(:email) AND users.is_email_verified', { email })
      .getOne();
    return owner ?? undefined;
  }

  /** Whether this task is the one that mails the owner a notice: the first within an hour, and every further attempt of it. */
  private async mayNotify({ id }: User, taskId: string): Promise<boolean> {
    const [, count] = await this.dataSource.query<[unknown, number]>(
      `UPDATE users SET notice_id = $2, noticed_at = CASE WHEN notice_id = $2 THEN noticed_at ELSE now() END
       WHERE id = $1 AND (notice_id IS NULL OR notice_id = $2 OR noticed_at <= now() - $3::interval)`,
      [id, taskId, BETWEEN_NOTICES],
    );
    return count > 0;
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
