import { Config } from '@app/config';
import { Mailer } from '@app/mail';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { AccountNotice } from './account-notice.entity.js';
import { UNDO_EMAIL_CHANGE } from './link-purposes.js';
import { linkToken } from './link-tokens.js';
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
    const { PUBLIC_URL: publicUrl, SECRET_KEY } = this.config;
    const own =
      notice.linkId === null
        ? undefined
        : `${publicUrl}/undo-email-change?token=${linkToken(SECRET_KEY, UNDO_EMAIL_CHANGE, notice.linkId)}`;
    await sendMail(this.mailer, publicUrl, task, noticeMail(notice, { publicUrl, own }));
    await task.transaction((manager) => manager.delete(AccountNotice, { id: noticeId }));
  }
}
