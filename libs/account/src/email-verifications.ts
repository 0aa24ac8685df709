import { createHmac, hash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { DataSource } from 'typeorm';
import { User } from './user.entity.js';

/** How long a link may be used after it was mailed. */
const LIFETIME = '15 minutes';

/** Issues the tokens of verification links, and redeems them. Only a token's digest is stored. */
@Injectable()
export class EmailVerifications {
  constructor(
    private readonly dataSource: DataSource,
    private readonly config: Config,
  ) {}

  /**
   * The token for a person's present address. The same id gives the same token,
   * so that every attempt to mail it mails one link; each call renews its time.
   * A later id replaces an earlier one.
   *
   * @param id a version 7 UUID, known to nobody outside.
   * @returns undefined when the token was used, or a later one was issued.
   * @throws Error when the id is another person's: the two would have one token.
   */
  async issue(id: string, user: User): Promise<string | undefined> {
    const token = createHmac('sha256', this.config.SECRET_KEY).update(`email-verification:${id}`).digest('base64url');
    const issued = await this.dataSource.query<unknown[]>(
      `INSERT INTO email_verification AS present (id, user_id, email, token_digest, expires_at)
       VALUES ($1, $2, $3, $4, now() + $5::interval)
       ON CONFLICT (user_id) DO UPDATE SET
         id = excluded.id, email = excluded.email, token_digest = excluded.token_digest, expires_at = excluded.expires_at,
         used_at = NULL, created_at = CASE WHEN present.id = excluded.id THEN present.created_at ELSE now() END
       WHERE present.id < excluded.id OR (present.id = excluded.id AND present.used_at IS NULL AND present.email = excluded.email)
       RETURNING id`,
      [id, user.id, user.email, digest(token), LIFETIME],
    );
    return issued.length > 0 ? token : undefined;
  }

  /**
   * Uses a token up and marks the address it was mailed to as verified, in one
   * statement: of two clicks at the same instant one wins.
   *
   * @returns undefined for every token that does not verify, whatever the cause.
   */
  async redeem(token: string): Promise<User | undefined> {
    const [rows] = await this.dataSource.query<[{ id: string }[], number]>(
      `WITH used AS (
         UPDATE email_verification SET used_at = now()
         FROM users
         WHERE token_digest = $1 AND used_at IS NULL AND expires_at > now()
           AND users.id = email_verification.user_id AND users.email = email_verification.email
         RETURNING email_verification.user_id)
       UPDATE users SET is_email_verified = true FROM used WHERE users.id = used.user_id RETURNING users.id`,
      [digest(token)],
    );
    const id = rows[0]?.id;
    return id === undefined ? undefined : ((await this.dataSource.manager.findOneBy(User, { id })) ?? undefined);
  }

  /** Deletes links that can no longer be used. @returns how many. */
  async purge(manager = this.dataSource.manager): Promise<number> {
    const [, count] = await manager.query<[unknown, number]>('DELETE FROM email_verification WHERE expires_at < now()');
    return count;
  }
}

function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}
