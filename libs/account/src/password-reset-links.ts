import { Injectable, Logger } from '@nestjs/common';
import { Config } from '@app/config';
import { DataSource, type EntityManager } from 'typeorm';
import { AccountLink } from './account-link.entity.js';
import { LinkOfAnother } from './link-of-another.js';
import { RESET_PASSWORD as PURPOSE, VOID_BY_PASSWORD } from './link-purposes.js';
import { isLinkToken, linkToken, lockAddress, RENEW_LINK, tokenDigest } from './link-tokens.js';
import { User } from './user.entity.js';

/** How long a link may be used after it was mailed. */
const LIFETIME = '15 minutes';

/** How many links an account gets within 24 hours as fast as they are asked for; after that there is one at a time. */
const LINKS_A_DAY = 10;

/** The link of a token that resets a password: of an account that still has the address, in its time, and not used. Needs $1, the token's digest, and $2, the purpose. */
const VALID_LINK = `
  FROM account_link AS link JOIN users ON users.id = link.user_id AND users.email = link.email AND users.is_email_verified
  WHERE link.token_digest = $1 AND link.purpose = $2 AND link.used_at IS NULL AND link.expires_at > now()`;

/** Issues the tokens of links that reset a password, and redeems them. Only a token's digest is stored. */
@Injectable()
export class PasswordResetLinks {
  private readonly logger = new Logger('PasswordResetLinks');

  constructor(
    private readonly dataSource: DataSource,
    private readonly config: Config,
  ) {}

  /**
   * The token for the present address of an account. The same id gives the same
   * token; each call renews its time. Who asks for many has ten within a day, and
   * after that another one only when none is left that works: a stranger who asks
   * all day long shuts nobody out.
   *
   * @param id a version 7 UUID, known to nobody outside.
   * @returns undefined when the link is not to be mailed.
   * @throws LinkOfAnother when the id is another person's: the two would have one token.
   */
  async issue(id: string, user: User): Promise<string | undefined> {
    const token = linkToken(this.config.SECRET_KEY, PURPOSE, id);
    return this.dataSource.transaction(async (manager) => {
      // Links that are issued at the same instant would not count each other.
      await lockAddress(manager, user.email);
      const issued = await manager.findOneBy(AccountLink, { id });
      if (issued) {
        if (issued.userId !== user.id) throw new LinkOfAnother();
        if (issued.usedAt || issued.email !== user.email) return undefined;
        await manager.query(RENEW_LINK, [id, tokenDigest(token), LIFETIME]);
        return token;
      }
      const [today] = await manager.query<{ links: number; valid: number }[]>(
        `SELECT count(*)::int AS links, (count(*) FILTER (WHERE used_at IS NULL AND expires_at > now() AND email = $3))::int AS valid
         FROM account_link WHERE user_id = $1 AND purpose = $2 AND created_at > now() - interval '1 day'`,
        [user.id, PURPOSE, user.email],
      );
      if (today!.links >= LINKS_A_DAY && today!.valid > 0) {
        this.logger.warn({ userId: user.id, links: today!.links }, 'this account has had many links today, and one that works: no mail');
        return undefined;
      }
      await manager.query(
        `INSERT INTO account_link (id, user_id, purpose, email, token_digest, expires_at) VALUES ($1, $2, $3, $4, $5, now() + $6::interval)`,
        [id, user.id, PURPOSE, user.email, tokenDigest(token), LIFETIME],
      );
      return token;
    });
  }

  /** Whose password a token resets; undefined when it does not, whatever the cause. Changes nothing. */
  async find(token: string): Promise<User | undefined> {
    if (!isLinkToken(token)) return undefined;
    const [found] = await this.dataSource.query<{ id: string }[]>(`SELECT users.id ${VALID_LINK}`, [tokenDigest(token), PURPOSE]);
    return found && ((await this.dataSource.manager.findOneBy(User, { id: found.id })) ?? undefined);
  }

  /**
   * Uses a token, once: of two at the same instant the second finds it used. The
   * other links of the account that reset its password, or would change its address, are void too.
   *
   * @param manager of the transaction that resets it.
   * @returns whose account it is, locked; undefined when the token does not reset.
   */
  async use(manager: EntityManager, token: string): Promise<User | undefined> {
    const digest = tokenDigest(token);
    // Waits for whoever else redeems a link of this account; a session that is begun meanwhile waits for us.
    const [found] = await manager.query<{ id: string }[]>(`SELECT users.id ${VALID_LINK} FOR UPDATE OF users`, [digest, PURPOSE]);
    if (!found) return undefined;
    const [links] = await manager.query<[{ redeemed: boolean }[], number]>(
      `UPDATE account_link SET used_at = now() WHERE user_id = $1 AND purpose = ANY ($2) AND used_at IS NULL
       RETURNING token_digest = $3 AS redeemed`,
      [found.id, VOID_BY_PASSWORD, digest],
    );
    if (!links.some(({ redeemed }) => redeemed)) return undefined;
    return (await manager.findOneBy(User, { id: found.id })) ?? undefined;
  }
}
