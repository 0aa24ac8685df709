import { randomBytes } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { currentClient, currentUserAgent, type Identity } from '@app/rpc';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { AccountEvents } from './account-events.js';
import { RefreshTokens } from './refresh-tokens.js';
import { Session } from './session.entity.js';
import type { User } from './user.entity.js';

/** How long a session lives that nobody refreshes; an interval of Postgres. */
const IDLE = '30 days';

/** How many sessions a person has; one more ends the one that was unused for longest. */
const SESSIONS = 100;

/** How much of what a client calls itself is kept, in characters. */
const USER_AGENT = 200;

/** A session with what its client keeps of it. */
export interface SessionWithToken {
  readonly session: Session;
  readonly refreshToken: string;
}

/** Log-ins, from their beginning to their end. A session that has ended has no row. */
@Injectable()
export class Sessions {
  private readonly refreshTokens: RefreshTokens;

  constructor(
    private readonly dataSource: DataSource,
    private readonly events: AccountEvents,
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
  async begin(user: User): Promise<SessionWithToken | undefined> {
    const id = uuidv7();
    const token = this.refreshTokens.first(id, randomBytes(32));
    return this.dataSource.transaction(async (manager) => {
      // Whoever changes the password holds the row, and is waited for.
      const [session] = await manager.query<Session[]>(
        `WITH owner AS (SELECT id FROM users WHERE id = $2 AND password_hash = $3 FOR KEY SHARE),
           surplus AS (DELETE FROM session WHERE id IN (
             SELECT session.id FROM session JOIN owner ON owner.id = session.user_id ORDER BY used_at DESC, session.id OFFSET ${SESSIONS - 1}))
         INSERT INTO session (id, user_id, refresh_digest, client, user_agent, expires_at)
         SELECT $1, owner.id, $4, $5, $6, now() + $7::interval FROM owner RETURNING ${FIELDS}`,
        [id, user.id, user.passwordHash, token.digest, currentClient() ?? '', ownName(), IDLE],
      );
      if (!session) return undefined;
      await this.events.record(manager, { userId: user.id, kind: 'session_created', sessionId: id });
      return { session, refreshToken: token.text };
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
