import { Injectable, Logger } from '@nestjs/common';
import { currentClient, currentSource, identifyCaller, RpcError, sourceOf } from '@app/rpc';
import { DataSource } from 'typeorm';
import { PasswordHasher } from './password-hasher.js';
import { Sessions, type SessionWithToken } from './sessions.js';
import type { User } from './user.entity.js';
import { WAITING_TIME } from './waiting-time.js';
import { WrongGuesses } from './wrong-guesses.js';

/**
 * How many wrong passwords for one login are listened to, of all networks together
 * in which its owner is not signed in: NIST SP 800-63B-4 allows for a hundred in a
 * row. After that it is one in six minutes.
 */
const STRANGERS = { burst: 100, perMinute: 1 / 6 };

/** And from one network in which its owner is at home. */
const KNOWN = { burst: 20, perMinute: 1 };

/** For how long after a log-in its network is one where the owner is at home, and how many such there are beside those of the sessions. */
const AT_HOME = '30 days';
const HOMES = 20;

/** Somebody who has logged in. */
export interface LoggedIn extends SessionWithToken {
  readonly user: Omit<User, 'requestId' | 'noticeId' | 'noticedAt'>;
}

/** Logging in, by username or address and password. */
@Injectable()
export class LogIns {
  private readonly logger = new Logger('LogIns');
  private readonly strangers = new WrongGuesses(STRANGERS);
  /** Of logins that nobody has: however many are made up, no account's count is forgotten for them. */
  private readonly nobodys = new WrongGuesses(STRANGERS);
  private readonly known = new WrongGuesses(KNOWN);

  constructor(
    private readonly dataSource: DataSource,
    private readonly passwords: PasswordHasher,
    private readonly sessions: Sessions,
  ) {}

  /**
   * Begins a session. A login that nobody has costs the same look and the same hash
   * as a wrong password, and its wrong passwords are counted alike.
   *
   * Guessing shuts nobody out for good: a network in which the owner is signed in
   * is counted by itself, and the right password gives back what it took.
   *
   * @param login a username, or an address of mail.
   * @throws RpcError UNAUTHENTICATED, always the same, for every wrong pair; FAILED_PRECONDITION when the pair is right and
   *   the address not verified; RESOURCE_EXHAUSTED when too many wrong ones came for this login, or too many are waiting.
   */
  async logIn(login: string, password: string): Promise<LoggedIn> {
    // Usernames and addresses are ASCII. Postgres and JavaScript have the same small letters for that alone, and what counts as one login must be one.
    const name = /^[\x21-\x7e]+$/.test(login) ? login.toLowerCase() : '';
    const { user, networks } = await this.find(name);
    const source = currentSource() ?? '';
    const isKnown = networks.some((client) => sourceOf(client) === source);
    // By the login as it was given: a username's count that an address would share would tell whose it is. And by its
    // password: who sets a new one, by the mail for one, is not shut out for guesses at the old one, whichever api is asked.
    const guessed = `${name} ${user?.passwordHash.slice(-16) ?? ''}`;
    const [guesses, key] = isKnown ? [this.known, `${guessed} ${source}`] : [user ? this.strangers : this.nobodys, guessed];
    // Nobody's password is always a wrong one.
    const isRight = await guesses.listen(key, () => this.passwords.verifyOf(user?.passwordHash, password));
    if (!isRight || !user) {
      if (user) this.logger.log({ userId: user.id, client: currentClient() }, 'a wrong password was given for this account');
      throw wrongPair();
    }
    identifyCaller(user.id);
    if (!user.isEmailVerified) {
      throw RpcError.failedPrecondition('verify your e-mail address first, by the link that was mailed to you', {
        reason: 'EMAIL_NOT_VERIFIED',
      });
    }
    const begun = await this.sessions.begin(user);
    if (!begun) throw wrongPair();
    return { user, ...begun };
  }

  /**
   * Whose login it is, in one statement, whether or not it is anybody's. An address
   * is one that is verified: whether it is could else be found out by a sign-up of
   * one's own with it.
   */
  private async find(login: string): Promise<{ user: LoggedIn['user'] | undefined; networks: readonly string[] }> {
    const isWhose = login.includes('@')
      ? 'lower(email) = $1 AND is_email_verified'
      : `lower(username) = $1 AND (is_email_verified OR created_at > now() - '${WAITING_TIME}'::interval)`;
    const [found] = await this.dataSource.query<(LoggedIn['user'] & { networks: string[] })[]>(
      `SELECT id, username, full_name AS "fullName", email, password_hash AS "passwordHash", is_email_verified AS "isEmailVerified",
         roles, created_at AS "createdAt",
         ARRAY(SELECT client FROM session WHERE user_id = users.id AND expires_at > now()
           UNION (SELECT client FROM account_event
             WHERE user_id = users.id AND kind = 'session_created' AND created_at > now() - '${AT_HOME}'::interval AND client IS NOT NULL
             ORDER BY created_at DESC LIMIT ${HOMES})) AS networks
       FROM users WHERE ${isWhose}`,
      [login],
    );
    return { user: found, networks: found?.networks ?? [] };
  }
}

function wrongPair(): RpcError {
  return RpcError.unauthenticated('the login or the password is wrong', { reason: 'LOGIN_OR_PASSWORD_WRONG' });
}
