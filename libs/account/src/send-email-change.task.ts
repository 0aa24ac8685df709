import { Logger } from '@nestjs/common';
import { Config } from '@app/config';
import { type Mail, Mailer } from '@app/mail';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { AccountLink } from './account-link.entity.js';
import { addressWantedMail, emailChangeMail } from './email-change-mail.js';
import { CHANGE_EMAIL, CHANGE_LIFETIME } from './link-purposes.js';
import { linkToken, RENEW_LINK, tokenDigest } from './link-tokens.js';
import { mayTellOwner, ownerOf } from './owner-of-address.js';
import { sendMail } from './send-mail.js';

const payload = z.object({ linkId: z.uuid() });

/** How many links for a change are mailed to one address within 24 hours, whoever asks. */
const LINKS_A_DAY = 10;

/**
 * Mails the link that gives an account another address to that address. Where it
 * is another account's already, its owner is told instead, at most once an hour.
 *
 * Run twice, it mails the same mail twice, under the same Message-ID.
 */
@Task({ type: 'account.send_email_change', queue: 'critical', payload, maxRetry: 10, timeout: '30s' })
export class SendEmailChange implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('SendEmailChange');

  constructor(
    private readonly dataSource: DataSource,
    private readonly mailer: Mailer,
    private readonly config: Config,
  ) {}

  async handle({ linkId }: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const link = await this.dataSource.manager.findOneBy(AccountLink, { id: linkId, purpose: CHANGE_EMAIL });
    // The account is gone, the change is done, or another one has made it void.
    if (!link || link.usedAt) return;
    const mail = await this.mailFor(link, task.id);
    if (mail) await sendMail(this.mailer, this.config.PUBLIC_URL, task, mail);
  }

  /** @returns undefined when none is to be sent. */
  private async mailFor(link: AccountLink, taskId: string): Promise<Omit<Mail, 'messageId'> | undefined> {
    const { manager } = this.dataSource;
    const owner = await ownerOf(manager, link.email);
    if (owner && owner.id !== link.userId) return (await mayTellOwner(manager, owner, taskId)) ? addressWantedMail(owner) : undefined;
    const [before] = await manager.query<{ links: number }[]>(
      `SELECT count(*)::int AS links FROM account_link
       WHERE lower(email) = lower($1) AND purpose = $2 AND created_at > now() - interval '1 day' AND id < $3`,
      [link.email, CHANGE_EMAIL, link.id],
    );
    if (before!.links >= LINKS_A_DAY) {
      this.logger.warn({ userId: link.userId, links: before!.links }, 'this address has had its links for the day: no mail');
      return undefined;
    }
    const token = linkToken(this.config.SECRET_KEY, CHANGE_EMAIL, link.id);
    await manager.query(RENEW_LINK, [link.id, tokenDigest(token), CHANGE_LIFETIME]);
    return emailChangeMail(link.email, `${this.config.PUBLIC_URL}/verify-email?token=${token}`);
  }
}
