import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { RpcError } from '@app/rpc';
import { TaskDistributor } from '@app/tasks';
import { DataSource } from 'typeorm';
import { v5 as uuidv5 } from 'uuid';
import { AccountEvents } from './account-events.js';
import { AccountNotices } from './account-notices.js';
import { PasswordHasher } from './password-hasher.js';
import { passwordProblem } from './password-policy.js';
import { PasswordResetLinks } from './password-reset-links.js';
import { SendPasswordReset } from './send-password-reset.task.js';
import { Sessions } from './sessions.js';

/** A new password for whoever has forgotten theirs, by a link to the address of the account. */
@Injectable()
export class PasswordResets {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskDistributor,
    private readonly links: PasswordResetLinks,
    private readonly passwords: PasswordHasher,
    private readonly sessions: Sessions,
    private readonly events: AccountEvents,
    private readonly notices: AccountNotices,
    private readonly config: Config,
  ) {}

  /**
   * Has a link mailed to the account that has the address, at most one a minute.
   * For an address that no account has everything is done alike, with a task that
   * finds nobody and an event that is nobody's: neither the answer nor its time
   * tells which it was.
   */
  async request(email: string): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      const [user] = await manager.query<{ id: string }[]>('SELECT id FROM users WHERE lower(email) = lower($1) AND is_email_verified', [
        email,
      ]);
      const key = createHmac('sha256', this.config.SECRET_KEY).update(`reset:${email.toLowerCase()}`).digest('base64url');
      // The same one for an address each time: an account's events are counted, and so must be those of nobody.
      const userId = user?.id ?? uuidv5(key, uuidv5.URL);
      await this.tasks.distribute(SendPasswordReset, { userId }, { manager, unique: { key, for: '1m' } });
      await this.events.record(manager, { userId, kind: 'password_reset_requested' });
    });
  }

  /** Whose password a token resets; undefined when it does not, whatever the cause. Changes nothing. */
  async find(token: string): Promise<{ username: string } | undefined> {
    return this.links.find(token);
  }

  /**
   * Gives the account of a token a new password, once. Its other links of this kind
   * are void, and its owner is told by mail.
   *
   * @throws RpcError FAILED_PRECONDITION, always the same, when the token does not reset; INVALID_ARGUMENT when the password
   *   may not be one: the token can be used again then; RESOURCE_EXHAUSTED when too many are waiting.
   */
  async redeem(token: string, newPassword: string): Promise<void> {
    const owner = await this.links.find(token);
    if (!owner) throw linkInvalid();
    const problem = await passwordProblem(newPassword, owner);
    if (problem) throw RpcError.invalidArgument([{ field: 'new_password', description: problem }]);
    const passwordHash = await this.passwords.hash(newPassword);
    await this.dataSource.transaction(async (manager) => {
      const user = await this.links.use(manager, token);
      if (!user) throw linkInvalid();
      await manager.query('UPDATE users SET password_hash = $2 WHERE id = $1', [user.id, passwordHash]);
      await this.sessions.endAll(manager, user.id);
      await this.events.record(manager, { userId: user.id, kind: 'password_reset' });
      await this.notices.mail(manager, user, 'password_reset');
    });
  }
}

function linkInvalid(): RpcError {
  return RpcError.failedPrecondition('this link is not valid, or no longer', { reason: 'PASSWORD_RESET_LINK_INVALID' });
}
