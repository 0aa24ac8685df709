import { Config } from '@app/config';
import { Mailer } from '@app/mail';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { AccountNotice } from './account-notice.entity.js';
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
    await sendMail(this.mailer, this.config.PUBLIC_URL, task, noticeMail(notice, this.config.PUBLIC_URL));
    await task.transaction((manager) => manager.delete(AccountNotice, { id: noticeId }));
  }
}
