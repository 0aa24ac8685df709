import { Config } from '@app/config';
import { Mailer } from '@app/mail';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { AccountNotice } from './account-notice.entity.js';
import { UNDO_EMAIL_CHANGE } from './link-purposes.js';
import { linkToken, tokenDigest } from './link-tokens.js';
import { noticeMail } from './notice-mails.js';
import { sendMail } from './send-mail.js';

const payload = z.object({ noticeId: z.uuid() });

/**
 * Mails a notice, and forgets it.
 *
 * Run twice, it mails the same mail twice, under the same Message-ID, or finds it forgotten.
 */
@Task({ type: 'account.send_notice', payload, maxRetry: 10, timeout: '30s' })
export class SendNotice implements TaskHandler<z.output<typeof payload>> {
  constructor(
    private readonly dataSource: DataSource,
    private readonly mailer: Mailer,
    private readonly config: Config,
  ) {}

  async handle({ noticeId }: z.output<typeof payload>, task: TaskContext): Promise<void> {
    const notice = await this.dataSource.manager.findOneBy(AccountNotice, { id: noticeId });
    if (!notice) return;
    const publicUrl = this.config.PUBLIC_URL;
    const own = notice.linkId === null ? undefined : await this.undoLink(notice.linkId);
    await sendMail(this.mailer, publicUrl, task, noticeMail(notice, { publicUrl, own }));
    await task.transaction((manager) => manager.delete(AccountNotice, { id: noticeId }));
  }

  private async undoLink(id: string): Promise<string> {
    const token = linkToken(this.config.SECRET_KEY, UNDO_EMAIL_CHANGE, id);
    await this.dataSource.query('UPDATE account_link SET token_digest = $2 WHERE id = $1 AND token_digest <> $2', [id, tokenDigest(token)]);
    return `${this.config.PUBLIC_URL}/undo-email-change?token=${token}`;
  }
}
