import { Injectable } from '@nestjs/common';
import { TaskDistributor } from '@app/tasks';
import type { EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { AccountNotice } from './account-notice.entity.js';
import type { NoticeKind } from './notice-mails.js';
import { SendNotice } from './send-notice.task.js';

/** Tells people by mail what happened to their account. */
@Injectable()
export class AccountNotices {
  constructor(private readonly tasks: TaskDistributor) {}

  /**
   * Has a notice mailed, by a task of the caller's transaction. What the mail needs
   * is kept beside the task until it is sent, at most for a week: the account may
   * be gone by then, and a payload carries no address.
   *
   * @param manager of the transaction that makes it true.
   * @param owner as the account is, or was, when it happened.
   * @param linkId of the link that the mail carries, where its kind has one.
   */
  async mail(
    manager: EntityManager,
    { email, username }: { email: string; username: string },
    kind: NoticeKind,
    linkId?: string,
  ): Promise<void> {
    const id = uuidv7();
    await manager.insert(AccountNotice, { id, kind, email, username, linkId: linkId ?? null });
    await this.tasks.distribute(SendNotice, { noticeId: id }, { manager });
  }
}
