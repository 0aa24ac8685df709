import { Injectable, Logger } from '@nestjs/common';
import { Config } from '@app/config';
import { DataSource } from 'typeorm';
import { AccountEvents } from './account-events.js';
import { EmailVerification } from './email-verification.entity.js';
import { LinkOfAnother } from './link-of-another.js';
import { isLinkToken, linkToken, lockAddress, tokenDigest } from './link-tokens.js';
import { User } from './user.entity.js';

/** How long a link may be used after it was mailed. */
const LIFETIME = '15 minutes';

/** How many links are mailed to one address within 24 hours, the one of the sign-up included. */
const LINKS_A_DAY = 10;

/** How long a link is known after its time: it can say that it has verified the address, and counts against the address's day. */
const REMEMBERED = '1 day';

/** What a link is good for. */
export interface VerificationLink {
  /** Whose account it is for. */
  readonly username: string;
  /** Whether the address that it proves is verified already, by this link or another one. */
  readonly isVerified: boolean;
  /** Whether it gives an account another address, rather than verify that of a sign-up. */
  readonly isChange: boolean;
}

/**
 * The link of a token that verifies an address, or did: the account still has
 * the address it was mailed to, which is verified, or the link has its time, was
 * not used, and nobody else has the address. Needs $1, the token's digest.
 */
const VALID_LINK = `
  FROM email_verification AS link JOIN users ON users.id = link.user_id AND users.email = link.email
  WHERE link.token_digest = $1 AND (users.is_email_verified OR (link.used_at IS NULL AND link.expires_at > now() AND NOT EXISTS (
    SELECT FROM users AS owner WHERE lower(owner.email) = lower(users.email) AND owner.is_email_verified)))`;

/** Issues the tokens of verification links, and redeems them. Only a token's digest is stored. */
@Injectable()
export class EmailVerifications {
  private readonly logger = new Logger('EmailVerifications');

  constructor(
    private readonly dataSource: DataSource,
    private readonly events: AccountEvents,
    private readonly config: Config,
  ) {}

  /**
   * The token for a person's present address. The same id gives the same token,
   * so that every attempt to mail it mails one link; each call renews its time.
   *
   * @param id a version 7 UUID, known to nobody outside.
   * @returns undefined when the link is not to be mailed: it was used, or mailed to a former
   *   address, or the address has had its links for the day.
   * @throws LinkOfAnother when the id is another person's: the two would have one token.
   */
  async issue(id: string, user: User): Promise<string | undefined> {
    const token = linkToken(this.config.SECRET_KEY, 'email-verification', id);
    return this.dataSource.transaction(async (manager) => {
      // Links that are issued at the same instant would not count each other.
      await lockAddress(manager, user.email);
      const issued = await manager.findOneBy(EmailVerification, { id });
      if (issued) {
        if (issued.userId !== user.id) throw new LinkOfAnother();
        if (issued.usedAt || issued.email !== user.email) return undefined;
        await manager.query('UPDATE email_verification SET token_digest = $2, expires_at = now() + $3::interval WHERE id = $1', [
          id,
          tokenDigest(token),
          LIFETIME,
        ]);
        return token;
      }
      const [today] = await manager.query<{ links: number }[]>(
        `SELECT count(*)::int AS links FROM email_verification WHERE lower(email) = lower($1) AND created_at > now() - interval '1 day'`,
        [user.email],
      );
      if (today!.links >= LINKS_A_DAY) {
        this.logger.warn({ userId: user.id, links: today!.links }, 'this address has had its verification links for the day: no mail');
        return undefined;
      }
      await manager.query(
        'INSERT INTO email_verification (id, user_id, email, token_digest, expires_at) VALUES ($1, $2, $3, $4, now() + $5::interval)',
        [id, user.id, user.email, tokenDigest(token), LIFETIME],
      );
      return token;
    });
  }

  /** What a link is good for; undefined for every token that does not verify, whatever the cause. */
  async find(token: string): Promise<VerificationLink | undefined> {
    if (!isLinkToken(token)) return undefined;
    const [link] = await this.dataSource.query<VerificationLink[]>(
      `SELECT users.username, users.is_email_verified AS "isVerified", false AS "isChange" ${VALID_LINK}`,
      [tokenDigest(token)],
    );
    return link;
  }

  /**
   * Marks the address that a token was mailed to as verified, and deletes the other
   * sign-ups that wait for it. Does so once: of two clicks at the same instant the
   * second finds it done, as does every later one; of the links of two sign-ups for
   * one address the second is over.
   *
   * @returns undefined for every token that does not verify, whatever the cause.
   */
  async redeem(token: string): Promise<User | undefined> {
    if (!isLinkToken(token)) return undefined;
    const [found] = await this.dataSource.query<{ email: string }[]>(`SELECT link.email ${VALID_LINK}`, [tokenDigest(token)]);
    if (!found) return undefined;
    return this.dataSource.transaction(async (manager) => {
      // The unique index would refuse the second one too, with a detail that Postgres writes into its log.
      await lockAddress(manager, found.email);
      const [link] = await manager.query<{ user_id: string; is_news: boolean }[]>(
        // The user alone is locked, as by whoever deletes it, and its links with it: who locked a link first would wait for them crosswise.
        `WITH link AS (SELECT link.id, link.user_id, link.email ${VALID_LINK} FOR NO KEY UPDATE OF users),
           used AS (UPDATE email_verification SET used_at = now() FROM link WHERE email_verification.id = link.id AND used_at IS NULL),
           verified AS (UPDATE users SET is_email_verified = true FROM link WHERE users.id = link.user_id AND NOT is_email_verified RETURNING users.id),
           others AS (DELETE FROM users USING link
             WHERE lower(users.email) = lower(link.email) AND NOT is_email_verified AND users.id <> link.user_id)
         SELECT user_id, EXISTS (SELECT FROM verified) AS is_news FROM link`,
        [tokenDigest(token)],
      );
      if (link?.is_news) {
        await this.events.keep(manager, link.user_id);
        await this.events.record(manager, { userId: link.user_id, kind: 'email_verified' });
      }
      return link && ((await manager.findOneBy(User, { id: link.user_id })) ?? undefined);
    });
  }

  /**
   * Deletes the sign-up that a token was mailed for, also when the link's time is
   * over; never an account whose address is verified.
   *
   * @returns whether there was one.
   */
  async disown(token: string): Promise<boolean> {
    if (!isLinkToken(token)) return false;
    return this.dataSource.transaction(async (manager) => {
      const [signUp] = await manager.query<{ id: string }[]>(
        `SELECT users.id FROM users JOIN email_verification AS link ON link.user_id = users.id AND link.email = users.email
         WHERE link.token_digest = $1 AND NOT users.is_email_verified FOR UPDATE OF users`,
        [tokenDigest(token)],
      );
      if (!signUp) return false;
      await this.events.record(manager, { userId: signUp.id, kind: 'sign_up_disowned' });
      await manager.query('DELETE FROM users WHERE id = $1', [signUp.id]);
      return true;
    });
  }

  /** Deletes the links whose time was over a day ago. @returns how many. */
  async purge(manager = this.dataSource.manager): Promise<number> {
    const [, count] = await manager.query<[unknown, number]>('DELETE FROM email_verification WHERE expires_at < now() - $1::interval', [
      REMEMBERED,
    ]);
    return count;
  }
}
