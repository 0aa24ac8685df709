import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { type Identity, RpcError } from '@app/rpc';
import { TaskDistributor } from '@app/tasks';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { AccountEvents } from './account-events.js';
import { AccountNotices } from './account-notices.js';
import { CurrentPasswords } from './current-passwords.js';
import type { VerificationLink } from './email-verifications.js';
import { CHANGE_EMAIL, CHANGE_LIFETIME, UNDO_EMAIL_CHANGE } from './link-purposes.js';
import { isLinkToken, linkToken, lockAddress, tokenDigest } from './link-tokens.js';
import { PasswordHasher } from './password-hasher.js';
import { SendEmailChange } from './send-email-change.task.js';
import { SendPasswordReset } from './send-password-reset.task.js';
import { Sessions } from './sessions.js';
import { User } from './user.entity.js';

/** How long the former owner of an account's address may take it back; an interval of Postgres. */
const UNDO_LIFETIME = '7 days';

/** How many changes of its address an account may ask for within 24 hours: each has us write to somebody who may be a stranger. */
const CHANGES_A_DAY = 10;

/** Milliseconds. */
const DAY = 86_400_000;

/**
 * The link of a token that changes an address, or did: the account still has the
 * address since, or the link has its time, was not used, and nobody else has the
 * address. Needs $1, the token's digest, and $2, the purpose.
 */
const VALID_CHANGE = `
  FROM account_link AS link JOIN users ON users.id = link.user_id AND users.is_email_verified
  WHERE link.token_digest = $1 AND link.purpose = $2 AND (
    (link.used_at IS NOT NULL AND users.email = link.email)
    OR (link.used_at IS NULL AND link.expires_at > now() AND NOT EXISTS (
      SELECT FROM users AS owner WHERE lower(owner.email) = lower(link.email) AND owner.is_email_verified AND owner.id <> users.id)))`;

/** The same of one that takes the former address back. */
const VALID_UNDO = `
  FROM account_link AS link JOIN users ON users.id = link.user_id AND users.is_email_verified
  WHERE link.token_digest = $1 AND link.purpose = $2 AND link.used_at IS NULL AND link.expires_at > now() AND NOT EXISTS (
    SELECT FROM users AS owner WHERE lower(owner.email) = lower(link.email) AND owner.is_email_verified AND owner.id <> users.id)`;

/** Another address for an account: by a link to the new one, with a way back by a link to the old one. */
@Injectable()
export class EmailChanges {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskDistributor,
    private readonly currentPasswords: CurrentPasswords,
    private readonly passwords: PasswordHasher,
    private readonly sessions: Sessions,
    private readonly events: AccountEvents,
    private readonly notices: AccountNotices,
    private readonly config: Config,
  ) {}

  /**
   * Has a link mailed to the new address, by whose click the account has it. Where
   * another account has it already everything is done alike: the task finds out,
   * and tells its owner instead.
   *
   * @throws RpcError INVALID_ARGUMENT when the password is another one, or the address is the account's already; RESOURCE_EXHAUSTED
   *   when it was to be changed too often today; UNAUTHENTICATED when the account is gone.
   */
  async request(identity: Identity, newEmail: string, currentPassword: string): Promise<void> {
    const user = await this.currentPasswords.check(identity, currentPassword);
    if (newEmail.toLowerCase() === user.email.toLowerCase()) {
      throw RpcError.invalidArgument([{ field: 'new_email', description: 'is your address already' }]);
    }
    await this.dataSource.transaction(async (manager) => {
      // Changes that are asked for at the same instant would not count each other.
      const locked = await manager.query<{ id: string }[]>('SELECT id FROM users WHERE id = $1 AND password_hash = $2 FOR NO KEY UPDATE', [
        user.id,
        user.passwordHash,
      ]);
      // Gone, or of another password meanwhile: whoever changed it has ended this session.
      if (locked.length === 0) throw RpcError.unauthenticated('this session has ended', { reason: 'SESSION_ENDED' });
      await this.refuseTooMany(manager, user.id);
      // One at a time: who sees that an address was wrong asks anew, and whoever has the wrong one can do nothing with its link.
      await manager.query('UPDATE account_link SET used_at = now() WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL', [
        user.id,
        CHANGE_EMAIL,
      ]);
      const id = uuidv7();
      await this.insertLink(manager, { id, userId: user.id, purpose: CHANGE_EMAIL, email: newEmail, lifetime: CHANGE_LIFETIME });
      await this.tasks.distribute(SendEmailChange, { linkId: id }, { manager });
      await this.events.record(manager, { userId: user.id, kind: 'email_change_requested', sessionId: identity.sessionId });
    });
  }

  /** What a link to a new address is good for; undefined when it does not change it, whatever the cause. Changes nothing. */
  async find(token: string): Promise<VerificationLink | undefined> {
    if (!isLinkToken(token)) return undefined;
    const [link] = await this.dataSource.query<VerificationLink[]>(
      `SELECT users.username, link.used_at IS NOT NULL AS "isVerified", true AS "isChange" ${VALID_CHANGE}`,
      [tokenDigest(token), CHANGE_EMAIL],
    );
    return link;
  }

  /**
   * Gives the account the address that a token was mailed to. Sign-ups that wait
   * for it are deleted, and the old address is told, with a link that takes it back.
   * Again by the same link it finds the change done.
   *
   * @returns undefined for every token that changes no address, whatever the cause.
   */
  async redeem(token: string): Promise<User | undefined> {
    if (!isLinkToken(token)) return undefined;
    const key = [tokenDigest(token), CHANGE_EMAIL];
    const [found] = await this.dataSource.query<{ email: string; user_id: string }[]>(
      `SELECT link.email, link.user_id ${VALID_CHANGE}`,
      key,
    );
    if (!found) return undefined;
    return this.dataSource.transaction(async (manager) => {
      // The unique index would refuse the second one too, with a detail that Postgres writes into its log.
      await lockAddress(manager, found.email);
      await manager.query('SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE', [found.user_id]);
      const [link] = await manager.query<{ id: string; is_used: boolean; old_email: string }[]>(
        `SELECT link.id, link.used_at IS NOT NULL AS is_used, users.email AS old_email ${VALID_CHANGE}`,
        key,
      );
      if (!link) return undefined;
      if (!link.is_used) await this.change(manager, link.id, { userId: found.user_id, from: link.old_email, to: found.email });
      return (await manager.findOneBy(User, { id: found.user_id })) ?? undefined;
    });
  }

  /** Makes a link to a new address void, at the wish of whoever got the mail. @returns whether there was one that would have worked. */
  async disown(token: string): Promise<boolean> {
    if (!isLinkToken(token)) return false;
    return this.dataSource.transaction(async (manager) => {
      const [voided] = await manager.query<[{ user_id: string }[], number]>(
        `UPDATE account_link SET used_at = now() WHERE token_digest = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()
         RETURNING user_id`,
        [tokenDigest(token), CHANGE_EMAIL],
      );
      for (const { user_id } of voided) await this.events.record(manager, { userId: user_id, kind: 'email_change_disowned' });
      return voided.length > 0;
    });
  }

  /** Whose former address a token takes back; undefined when it does not. Changes nothing. */
  async findUndo(token: string): Promise<{ username: string } | undefined> {
    if (!isLinkToken(token)) return undefined;
    const [link] = await this.dataSource.query<{ username: string }[]>(`SELECT users.username ${VALID_UNDO}`, [
      tokenDigest(token),
      UNDO_EMAIL_CHANGE,
    ]);
    return link;
  }

  /**
   * Gives the account the address back that a token was mailed to. Whoever changed
   * it knew the password: so that is void, all sessions end, and a link for a new
   * one is mailed to the address. What was mailed since the change is void too,
   * links back to later addresses included.
   *
   * @returns whose account it is; undefined for every token that takes nothing back, whatever the cause.
   */
  async undo(token: string): Promise<{ username: string } | undefined> {
    if (!isLinkToken(token)) return undefined;
    const key = [tokenDigest(token), UNDO_EMAIL_CHANGE];
    const [found] = await this.dataSource.query<{ email: string; user_id: string }[]>(`SELECT link.email, link.user_id ${VALID_UNDO}`, key);
    if (!found) return undefined;
    const nobodysPassword = await this.passwords.hash(randomBytes(32).toString('base64url'));
    return this.dataSource.transaction(async (manager) => {
      await lockAddress(manager, found.email);
      await manager.query('SELECT FROM users WHERE id = $1 FOR UPDATE', [found.user_id]);
      const [link] = await manager.query<{ username: string; created_at: Date }[]>(
        `SELECT users.username, link.created_at ${VALID_UNDO}`,
        key,
      );
      if (!link) return undefined;
      await manager.query(
        `UPDATE account_link SET used_at = now() WHERE user_id = $1 AND used_at IS NULL AND (purpose <> $2 OR created_at >= $3)`,
        [found.user_id, UNDO_EMAIL_CHANGE, link.created_at],
      );
      await manager.query('UPDATE users SET email = $2, password_hash = $3 WHERE id = $1', [found.user_id, found.email, nobodysPassword]);
      await deleteSignUps(manager, found.email);
      await this.sessions.endAll(manager, found.user_id);
      await this.events.record(manager, { userId: found.user_id, kind: 'email_change_undone' });
      await this.tasks.distribute(SendPasswordReset, { userId: found.user_id }, { manager });
      return { username: link.username };
    });
  }

  private async change(
    manager: EntityManager,
    linkId: string,
    { userId, from, to }: { userId: string; from: string; to: string },
  ): Promise<void> {
    await manager.query('UPDATE account_link SET used_at = now() WHERE id = $1', [linkId]);
    const [[user]] = await manager.query<[{ username: string }[], number]>('UPDATE users SET email = $2 WHERE id = $1 RETURNING username', [
      userId,
      to,
    ]);
    await deleteSignUps(manager, to);
    await this.events.record(manager, { userId, kind: 'email_changed' });
    const undoId = uuidv7();
    await this.insertLink(manager, { id: undoId, userId, purpose: UNDO_EMAIL_CHANGE, email: from, lifetime: UNDO_LIFETIME });
    await this.notices.mail(manager, { email: from, username: user!.username }, 'email_changed', undoId);
  }

  private async insertLink(
    manager: EntityManager,
    { id, userId, purpose, email, lifetime }: { id: string; userId: string; purpose: string; email: string; lifetime: string },
  ): Promise<void> {
    await manager.query(
      `INSERT INTO account_link (id, user_id, purpose, email, token_digest, expires_at) VALUES ($1, $2, $3, $4, $5, now() + $6::interval)`,
      [id, userId, purpose, email, tokenDigest(linkToken(this.config.SECRET_KEY, purpose, id)), lifetime],
    );
  }

  private async refuseTooMany(manager: EntityManager, userId: string): Promise<void> {
    const [oldest] = await manager.query<{ age: number }[]>(
      `SELECT extract(epoch FROM now() - created_at)::float8 * 1000 AS age FROM account_link
       WHERE user_id = $1 AND purpose = $2 AND created_at > now() - interval '1 day' ORDER BY created_at DESC OFFSET ${CHANGES_A_DAY - 1} LIMIT 1`,
      [userId, CHANGE_EMAIL],
    );
    if (!oldest) return;
    throw RpcError.resourceExhausted('this address was to be changed too often today, try again tomorrow', {
      reason: 'TOO_MANY_EMAIL_CHANGES',
      retryDelay: Math.ceil(DAY - oldest.age),
    });
  }
}

/** Sign-ups that wait for an address that an account has now. */
async function deleteSignUps(manager: EntityManager, email: string): Promise<void> {
  await manager.query('DELETE FROM users WHERE lower(email) = lower($1) AND NOT is_email_verified', [email]);
}
