import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { currentClient, currentUserAgent, type Identity } from '@app/rpc';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { AccountEvents, recording } from './account-events.js';
import { AccountNotices } from './account-notices.js';
import { type RefreshToken, RefreshTokens } from './refresh-tokens.js';
import { Session } from './session.entity.js';
import type { User } from './user.entity.js';

/** How long a session lives that nobody refreshes, and how long in any case; intervals of Postgres. */
const IDLE = '30 days';
const ABSOLUTE = '90 days';

/** For how long after its use a refresh token is answered once more; an interval of Postgres. */
const GRACE = '10 seconds';

/** How many tokens that were used within that time are told from stolen ones. */
const GRACED = 16;

/** How many sessions a person has; one more ends the one that was unused for longest. */
const SESSIONS = 100;

/** How much of what a client calls itself is kept, in characters. */
const USER_AGENT = 200;

/** A session with what its client keeps of it. */
export interface SessionWithToken {
  readonly session: Session;
  readonly refreshToken: string;
}

/** A session that goes on, with the roles of its person. */
export interface Refreshed extends SessionWithToken {
  readonly roles: readonly string[];
}

/** Log-ins, from their beginning to their end. A session that has ended has no row. */
@Injectable()
export class Sessions {
  private readonly refreshTokens: RefreshTokens;

  constructor(
    private readonly dataSource: DataSource,
    private readonly events: AccountEvents,
    private readonly notices: AccountNotices,
    config: Config,
  ) {
    this.refreshTokens = new RefreshTokens(config.SECRET_KEY);
  }

  /**
   * Begins a session of somebody who has just proved who they are.
   *
   * @param user as it was when its password was checked.
   * @returns undefined when the password is another one by now, or the account is gone: who changed it has ended all sessions, this one too.
   */
  async begin(user: Pick<User, 'id' | 'passwordHash'>): Promise<SessionWithToken | undefined> {
    const id = uuidv7();
    const token = this.refreshTokens.first(id, randomBytes(32));
    // One statement is a transaction, and one way to the database and back. Whoever changes the password holds the row, and is waited for.
    const [session] = await this.dataSource.query<Session[]>(
      `WITH owner AS (SELECT id FROM users WHERE id = $2 AND password_hash = $3 FOR KEY SHARE),
         surplus AS (DELETE FROM session WHERE id IN (
           SELECT session.id FROM session JOIN owner ON owner.id = session.user_id ORDER BY used_at DESC, session.id OFFSET ${SESSIONS - 1})),
         begun AS (
           INSERT INTO session (id, user_id, refresh_digest, client, user_agent, expires_at)
           SELECT $1, owner.id, $4, $5, $6, now() + '${IDLE}'::interval FROM owner RETURNING ${FIELDS}),
         event AS (${recording({ id: '$7', userId: 'begun."userId"', kind: `'session_created'`, sessionId: 'begun.id', client: `nullif(begun.client, '')` }, 'begun')})
       SELECT * FROM begun`,
      [id, user.id, user.passwordHash, token.digest, currentClient() ?? '', ownName(), uuidv7()],
    );
    if (!session) return undefined;
    this.events.say({ userId: user.id, kind: 'session_created', sessionId: id });
    return { session, refreshToken: token.text };
  }

  /**
   * Continues a session by its refresh token, which is used up by that; within ten
   * seconds it is answered once more, with what is good now. Used after that it was
   * stolen, by whoever came first or comes now: the session ends, and its owner is
   * told by mail.
   *
   * @returns undefined for every token that is not good, whatever the cause.
   */
  async refresh(text: string): Promise<Refreshed | undefined> {
    const token = this.refreshTokens.read(text);
    if (!token) return undefined;
    return this.dataSource.transaction(async (manager) => {
      // Of two at one instant the second waits here, and finds the first one's successor.
      const [session] = await manager.query<(Session & { isRecent: boolean[] })[]>(
        `SELECT ${FIELDS}, refresh_digest AS "refreshDigest", generation,
           ARRAY(SELECT at > now() - $2::interval FROM unnest(rotated_at) WITH ORDINALITY AS used (at, place) ORDER BY place) AS "isRecent"
         FROM session WHERE id = $1 AND expires_at > now() FOR NO KEY UPDATE`,
        [token.sessionId, GRACE],
      );
      if (!session) return undefined;
      if (session.refreshDigest.equals(token.digest)) return this.rotate(manager, session.id, this.refreshTokens.successor(token));
      // A made-up token ends nobody's session.
      if (token.generation >= session.generation || !this.refreshTokens.isOurs(token)) return undefined;
      const steps = session.generation - token.generation;
      if (session.isRecent[steps - 1]) {
        const current = this.refreshTokens.successor(token, steps);
        const roles = await this.rolesOf(manager, session.userId);
        // Under another key it would be another one.
        return current.digest.equals(session.refreshDigest) ? { session, roles, refreshToken: current.text } : undefined;
      }
      await this.endStolen(manager, session);
      return undefined;
    });
  }

  private async rotate(manager: EntityManager, id: string, next: RefreshToken): Promise<Refreshed> {
    const [[session]] = await manager.query<[[Session], number]>(
      `UPDATE session SET refresh_digest = $2, generation = generation + 1, rotated_at = (now() || rotated_at)[1:${GRACED}],
         used_at = now(), client = $3, user_agent = $4, expires_at = least(now() + $5::interval, created_at + $6::interval)
       WHERE id = $1 RETURNING ${FIELDS}`,
      [id, next.digest, currentClient() ?? '', ownName(), IDLE, ABSOLUTE],
    );
    return { session, roles: await this.rolesOf(manager, session.userId), refreshToken: next.text };
  }

  private async endStolen(manager: EntityManager, { id, userId }: Session): Promise<void> {
    const [[owner]] = await manager.query<[[{ email: string; username: string }], number]>(
      'DELETE FROM session USING users WHERE session.id = $1 AND users.id = session.user_id RETURNING users.email, users.username',
      [id],
    );
    await this.events.record(manager, { userId, kind: 'refresh_token_reused', sessionId: id });
    await this.notices.mail(manager, owner, 'session_revoked');
  }

  private async rolesOf(manager: EntityManager, userId: string): Promise<string[]> {
    const [user] = await manager.query<[{ roles: string[] }]>('SELECT roles FROM users WHERE id = $1', [userId]);
    return user.roles;
  }

  /** The sessions of a person, the one that was used last first. */
  list(userId: string): Promise<Session[]> {
    return this.dataSource.query(
      `SELECT ${FIELDS} FROM session WHERE user_id = $1 AND expires_at > now() ORDER BY used_at DESC, id LIMIT ${SESSIONS}`,
      [userId],
    );
  }

  /** Ends a session of a person. @returns whether they had it. */
  async end(userId: string, sessionId: string): Promise<boolean> {
    return this.dataSource.transaction(async (manager) => {
      const [, ended] = await manager.query<[unknown, number]>(
        'DELETE FROM session WHERE id = $1 AND user_id = $2 AND expires_at > now()',
        [sessionId, userId],
      );
      if (ended > 0) await this.events.record(manager, { userId, kind: 'session_deleted', sessionId });
      return ended > 0;
    });
  }

  /** Ends the other sessions of a person who is signed in. @returns how many. */
  async endOthers({ userId, sessionId }: Identity): Promise<number> {
    return this.dataSource.transaction(async (manager) => {
      const ended = await this.endAll(manager, userId, { except: sessionId });
      await this.events.record(manager, { userId, kind: 'other_sessions_deleted', sessionId });
      return ended;
    });
  }

  /** Who has a session, with their roles as they are now; undefined when there is none (any more). One look by primary key. */
  async find({ sessionId, userId }: Omit<Identity, 'roles'>): Promise<Identity | undefined> {
    const [found] = await this.dataSource.query<{ roles: string[] }[]>(
      `SELECT users.roles FROM session JOIN users ON users.id = session.user_id
       WHERE session.id = $1 AND session.user_id = $2 AND session.expires_at > now()`,
      [sessionId, userId],
    );
    return found && { sessionId, userId, roles: found.roles };
  }

  /**
   * Ends the sessions of a person: their refresh tokens are worth nothing from the
   * commit on, their access tokens neither, where this api is asked.
   *
   * @param manager of the transaction that makes it true.
   * @param options.except a session that goes on.
   * @returns how many have ended.
   */
  async endAll(manager: EntityManager, userId: string, options: { readonly except?: string } = {}): Promise<number> {
    const [, ended] = await manager.query<[unknown, number]>(
      'DELETE FROM session WHERE user_id = $1 AND ($2::uuid IS NULL OR id <> $2) AND expires_at > now()',
      [userId, options.except ?? null],
    );
    return ended;
  }

  /** Deletes the sessions whose time is over, at most so many. @returns how many. */
  async purge(limit: number): Promise<number> {
    const [, deleted] = await this.dataSource.query<[unknown, number]>(
      `DELETE FROM session WHERE id = ANY (ARRAY(
         SELECT id FROM session WHERE expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
      [limit],
    );
    return deleted;
  }
}

/** The columns of a session, by the names of the entity; for a statement of one's own. */
const FIELDS = `session.id, session.user_id AS "userId", session.client, session.user_agent AS "userAgent",
  session.created_at AS "createdAt", session.used_at AS "usedAt", session.expires_at AS "expiresAt"`;

/** What the client calls itself: as text that can be shown. */
function ownName(): string {
  return currentUserAgent()
    .replace(/[^\x20-\x7e]+/g, '')
    .slice(0, USER_AGENT);
}
