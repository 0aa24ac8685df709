import { Injectable } from '@nestjs/common';
import { type Identity, RpcError } from '@app/rpc';
import { DataSource } from 'typeorm';
import { AccountEvents } from './account-events.js';
import { AccountNotices } from './account-notices.js';
import { CurrentPasswords } from './current-passwords.js';

/** The end of an account. */
@Injectable()
export class AccountDeletion {
  constructor(
    private readonly dataSource: DataSource,
    private readonly passwords: CurrentPasswords,
    private readonly events: AccountEvents,
    private readonly notices: AccountNotices,
  ) {}

  /**
   * Deletes an account with its sessions, its links and all that is personal, in
   * one transaction, and has a last mail sent that says so. Its events stay for
   * their time, under an id that leads to nobody any more and without the addresses
   * that calls came from, but that of the deletion.
   *
   * @throws RpcError INVALID_ARGUMENT when the password is another one; UNAUTHENTICATED when the account is gone already.
   */
  async delete(identity: Identity, currentPassword: string): Promise<void> {
    const user = await this.passwords.check(identity, currentPassword);
    await this.dataSource.transaction(async (manager) => {
      const [owner] = await manager.query<{ email: string; username: string }[]>(
        'SELECT email, username FROM users WHERE id = $1 AND password_hash = $2 FOR UPDATE',
        [user.id, user.passwordHash],
      );
      // Gone, or of another password meanwhile: whoever changed it has ended this session.
      if (!owner) throw RpcError.unauthenticated('this session has ended', { reason: 'SESSION_ENDED' });
      await manager.query('UPDATE account_event SET client = NULL WHERE user_id = $1', [user.id]);
      await this.events.record(manager, { userId: user.id, kind: 'user_deleted', sessionId: identity.sessionId });
      await this.notices.mail(manager, owner, 'account_deleted');
      // Sessions and links go with the row that they refer to.
      await manager.query('DELETE FROM users WHERE id = $1', [user.id]);
    });
  }
}
