import { VOID_BY_PASSWORD } from './link-purposes.js';
import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { faultPoint } from '@app/faults';
import { Code, type FieldViolation, type Identity, RpcError } from '@app/rpc';
import { TaskDistributor } from '@app/tasks';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { AccountNotices } from './account-notices.js';
import { AccountEvents } from './account-events.js';
import { EmailChanges } from './email-changes.js';
import { EmailVerifications, type VerificationLink } from './email-verifications.js';
import { CurrentPasswords } from './current-passwords.js';
import { PasswordHasher } from './password-hasher.js';
import { passwordProblem } from './password-policy.js';
import { Sessions } from './sessions.js';
import { SendVerificationEmail } from './send-verification-email.task.js';
import { User } from './user.entity.js';
import { WAITING_TIME } from './waiting-time.js';

/** What a person signs up with. */
export interface SignUp {
  username: string;
  fullName: string;
  email: string;
  password: string;
  /** A UUID by which the same request is recognised when it comes again; may be empty. */
  requestId?: string;
}

/** Who is in the way of a sign-up: it has the username, or is what the same request made before. */
interface Holder {
  readonly user: User;
  readonly isSameRequest: boolean;
}

const USERNAME_TAKEN: FieldViolation = { field: 'username', description: 'this username is taken' };

/** Signing up, and proving that an e-mail address is one's own. */
@Injectable()
export class AccountService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskDistributor,
    private readonly passwords: PasswordHasher,
    private readonly verifications: EmailVerifications,
    private readonly changes: EmailChanges,
    private readonly events: AccountEvents,
    private readonly currentPasswords: CurrentPasswords,
    private readonly sessions: Sessions,
    private readonly notices: AccountNotices,
    private readonly config: Config,
  ) {}

  /**
   * Creates a user and, in the same transaction, the task that mails the link. The
   * same request under the same id within a day creates nothing: it is answered
   * with the user that it created.
   *
   * Nothing here depends on whether somebody has the address: neither the answer
   * nor its time tells. The task knows, and tells the owner.
   *
   * @throws RpcError ALREADY_EXISTS when only the username is wrong, because it is taken; INVALID_ARGUMENT with all that
   *   is wrong; RESOURCE_EXHAUSTED when too many are waiting.
   */
  async signUp(request: SignUp): Promise<User> {
    const signUp = { ...request, fullName: normaliseName(request.fullName) };
    const holder = await this.findHolder(signUp);
    if (holder?.isSameRequest) return this.answerAgain(holder.user, signUp);
    const problem = await passwordProblem(signUp.password, signUp);
    if (problem) throw RpcError.invalidArgument([...(holder ? [USERNAME_TAKEN] : []), { field: 'password', description: problem }]);
    if (holder) throw usernameTaken();

    const passwordHash = await this.passwords.hash(signUp.password);
    const user = await this.create(signUp, passwordHash);
    if (user) {
      await faultPoint('signup.after-commit');
      return user;
    }
    // Somebody was faster: another person, or the same request.
    const winner = await this.findHolder(signUp);
    if (winner?.isSameRequest) return this.answerAgain(winner.user, signUp);
    throw usernameTaken();
  }

  /**
   * What is wrong with a sign-up that its contract has refused already, as far as the contract does not say it.
   *
   * @param isUsable whether a field keeps the contract's rules; the others are not looked at.
   */
  async problemsOf(signUp: SignUp, isUsable: (field: keyof SignUp) => boolean): Promise<FieldViolation[]> {
    const holder = isUsable('username') && (await this.findHolder({ username: signUp.username }));
    // What the contract refuses may be of any length.
    const own = (field: 'username' | 'fullName' | 'email') => (isUsable(field) ? signUp[field] : '');
    const owner = { username: own('username'), fullName: own('fullName'), email: own('email') };
    const problem = isUsable('password') && (await passwordProblem(signUp.password, owner));
    return [...(holder ? [USERNAME_TAKEN] : []), ...(problem ? [{ field: 'password', description: problem }] : [])];
  }

  /**
   * The account of somebody who is signed in.
   *
   * @throws RpcError UNAUTHENTICATED when it was deleted meanwhile.
   */
  async get(userId: string): Promise<User> {
    const user = await this.dataSource.manager.findOneBy(User, { id: userId });
    if (!user) throw RpcError.unauthenticated('this session has ended', { reason: 'SESSION_ENDED' });
    return user;
  }

  /** Changes the name of somebody who is signed in. */
  async rename({ userId, sessionId }: Identity, fullName: string): Promise<User> {
    await this.dataSource.transaction(async (manager) => {
      await manager.query('UPDATE users SET full_name = $2 WHERE id = $1', [userId, normaliseName(fullName)]);
      await this.events.record(manager, { userId, kind: 'user_updated', sessionId });
    });
    return this.get(userId);
  }

  /**
   * Gives somebody who is signed in a new password, ends their other sessions, and
   * tells them by mail.
   *
   * @throws RpcError INVALID_ARGUMENT when the current one is not theirs, or the new one may not be one; RESOURCE_EXHAUSTED
   *   when too many wrong ones came, or too many are waiting; ABORTED when it was changed meanwhile.
   */
  async changePassword(identity: Identity, currentPassword: string, newPassword: string): Promise<void> {
    const { userId, sessionId } = identity;
    const user = await this.currentPasswords.check(identity, currentPassword);
    const problem = await passwordProblem(newPassword, user);
    if (problem) throw RpcError.invalidArgument([{ field: 'new_password', description: problem }]);
    const passwordHash = await this.passwords.hash(newPassword);
    await this.dataSource.transaction(async (manager) => {
      // A log-in with the old password that is under way waits for this row, or is ended below.
      const [owner] = await manager.query<Pick<User, 'email' | 'username'>[]>(
        'SELECT email, username FROM users WHERE id = $1 AND password_hash = $2 FOR UPDATE',
        [userId, user.passwordHash],
      );
      if (!owner) throw new RpcError(Code.ABORTED, 'the password was changed meanwhile', [], { reason: 'PASSWORD_CHANGED' });
      await manager.query('UPDATE users SET password_hash = $2 WHERE id = $1', [userId, passwordHash]);
      await manager.query('UPDATE account_link SET used_at = now() WHERE user_id = $1 AND purpose = ANY ($2) AND used_at IS NULL', [
        userId,
        VOID_BY_PASSWORD,
      ]);
      await this.sessions.endAll(manager, userId, { except: sessionId });
      await this.events.record(manager, { userId, kind: 'password_changed', sessionId });
      await this.notices.mail(manager, owner, 'password_changed');
    });
  }

  /** What a verification link is good for; undefined when it does not verify, whatever the cause. Changes nothing. */
  async findVerificationLink(token: string): Promise<VerificationLink | undefined> {
    return (await this.verifications.find(token)) ?? (await this.changes.find(token));
  }

  /**
   * Marks the address as verified, which is this account's from now on, or gives the account its new one; again by the same link is success too, while nothing has changed.
   *
   * @throws RpcError FAILED_PRECONDITION, always the same, when the token does not verify.
   */
  async verifyEmail(token: string): Promise<User> {
    const user = (await this.verifications.redeem(token)) ?? (await this.changes.redeem(token));
    if (!user)
      throw RpcError.failedPrecondition('this verification link is not valid, or no longer', { reason: 'VERIFICATION_LINK_INVALID' });
    return user;
  }

  /**
   * Deletes the sign-up that a link was mailed for, at the wish of whoever got the mail; or makes the link to an account's
   * new address void. An account whose address is verified stays.
   *
   * @returns which of them; undefined when there was neither.
   */
  async disown(token: string): Promise<'sign-up' | 'change' | undefined> {
    if (await this.verifications.disown(token)) return 'sign-up';
    return (await this.changes.disown(token)) ? 'change' : undefined;
  }

  /**
   * Has a fresh link mailed for the newest sign-up that waits for the address, at
   * most one a minute for an address, and at most ten a day with those of the
   * sign-ups. For an address that is unknown or verified everything is done alike,
   * with a task that finds nobody: neither the answer nor its time tells which it was.
   */
  async resendVerificationEmail(email: string): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      const [user] = await manager.query<{ id: string }[]>(
        `SELECT id FROM users WHERE lower(email) = lower($1) AND NOT is_email_verified AND created_at > now() - $2::interval
         ORDER BY created_at DESC, id DESC LIMIT 1`,
        [email, WAITING_TIME],
      );
      const key = createHmac('sha256', this.config.SECRET_KEY).update(`resend:${email.toLowerCase()}`).digest('base64url');
      await this.tasks.distribute(SendVerificationEmail, { userId: user?.id ?? uuidv7() }, { manager, unique: { key, for: '1m' } });
    });
  }

  /** Whoever the same request has signed up before, or else whoever has the username; read in one statement, so of one instant. */
  private async findHolder({ username, requestId }: Pick<SignUp, 'username' | 'requestId'>): Promise<Holder | undefined> {
    const users = this.dataSource.manager
      .createQueryBuilder(User, 'users')
      .where('lower(users.username) = lower(:username) AND (users.is_email_verified OR users.created_at > now() - CAST(:time AS interval))')
      .setParameters({ username, requestId: requestId || null, time: WAITING_TIME });
    if (requestId) users.orWhere('users.request_id = :requestId AND users.created_at > now() - CAST(:time AS interval)');
    const found = await users.getMany();
    const same = requestId ? found.find((user) => user.requestId === requestId.toLowerCase()) : undefined;
    const user = same ?? found[0];
    return user && { user, isSameRequest: user === same };
  }

  /** @throws RpcError INVALID_ARGUMENT when this is another request than the one that created the user. */
  private async answerAgain(user: User, { username, fullName, email, password }: SignUp): Promise<User> {
    const isSamePassword = await this.passwords.verify(user.passwordHash, password);
    if (isSamePassword && user.username === username && user.fullName === fullName && user.email === email) return user;
    throw RpcError.invalidArgument([{ field: 'request_id', description: 'was used for another sign-up' }]);
  }

  /** @returns undefined when the username, or the request's id, is taken meanwhile. */
  private create({ username, fullName, email, requestId }: SignUp, passwordHash: string): Promise<User | undefined> {
    return this.dataSource.transaction(async (manager) => {
      await freeWhatIsOver(manager, username, requestId);
      const user = manager.create(User, {
        id: uuidv7(),
        username,
        fullName,
        email,
        passwordHash,
        requestId: requestId || null,
        isEmailVerified: false,
      });
      // Without a conflict's error, whose detail Postgres would write into its log.
      const { raw } = await manager.createQueryBuilder().insert().into(User).values(user).orIgnore().returning('created_at').execute();
      const [inserted] = raw as { created_at: Date }[];
      if (!inserted) return undefined;
      user.createdAt = inserted.created_at;
      await this.events.record(manager, { userId: user.id, kind: 'signed_up' });
      await faultPoint('signup.after-insert');
      await this.tasks.distribute(SendVerificationEmail, { userId: user.id }, { manager, processIn: this.config.VERIFY_EMAIL_DELAY });
      await faultPoint('signup.before-commit');
      return user;
    });
  }
}

/** Frees what rows that are over still hold: sign-ups that have waited for too long a username, and old requests their id. */
async function freeWhatIsOver(manager: EntityManager, username: string, requestId?: string): Promise<void> {
  await manager.query(
    `DELETE FROM users WHERE lower(username) = lower($1) AND NOT is_email_verified AND created_at <= now() - $2::interval`,
    [username, WAITING_TIME],
  );
  if (!requestId) return;
  await manager.query(`UPDATE users SET request_id = NULL WHERE request_id = $1 AND created_at <= now() - $2::interval`, [
    requestId,
    WAITING_TIME,
  ]);
}

function usernameTaken(): RpcError {
  return RpcError.alreadyExists(USERNAME_TAKEN.description, { field: USERNAME_TAKEN.field, reason: 'USERNAME_TAKEN' });
}

/** A name as it is kept: in NFC, with single plain spaces between its parts and none around it. */
function normaliseName(name: string): string {
  return name.normalize('NFC').trim().replace(/\s+/g, ' ');
}
