import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { uniqueViolation } from '@app/postgres';
import { faultPoint } from '@app/faults';
import { RpcError } from '@app/rpc';
import { TaskDistributor } from '@app/tasks';
import { DataSource } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { EmailVerifications, type VerificationLink } from './email-verifications.js';
import { PasswordHasher } from './password-hasher.js';
import { SendVerificationEmail } from './send-verification-email.task.js';
import { User } from './user.entity.js';

/** What a person signs up with. */
export interface SignUp {
  username: string;
  fullName: string;
  email: string;
  password: string;
}

/** The fields that are unique, by the index that sees to it. */
const UNIQUE_FIELDS: Readonly<Record<string, { field: string; name: string }>> = {
  users_username: { field: 'username', name: 'username' },
  users_email: { field: 'email', name: 'e-mail address' },
};

/** Signing up, and proving that an e-mail address is one's own. */
@Injectable()
export class AccountService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly tasks: TaskDistributor,
    private readonly passwords: PasswordHasher,
    private readonly verifications: EmailVerifications,
    private readonly config: Config,
  ) {}

  /**
   * Creates a user and, in the same transaction, the task that mails the link.
   *
   * @throws RpcError ALREADY_EXISTS naming the field that is taken; RESOURCE_EXHAUSTED when too many are waiting.
   */
  async signUp({ username, fullName, email, password }: SignUp): Promise<User> {
    await this.refuseTaken(username, email);
    const passwordHash = await this.passwords.hash(password);
    try {
      const user = await this.dataSource.transaction(async (manager) => {
        const user = manager.create(User, {
          id: uuidv7(),
          username,
          fullName,
          email,
          passwordHash,
          isEmailVerified: false,
          createdAt: new Date(),
        });
        await manager.insert(User, user);
        await faultPoint('signup.after-insert');
        await this.tasks.distribute(SendVerificationEmail, { userId: user.id }, { manager, processIn: this.config.VERIFY_EMAIL_DELAY });
        await faultPoint('signup.before-commit');
        return user;
      });
      await faultPoint('signup.after-commit');
      return user;
    } catch (error) {
      const taken = UNIQUE_FIELDS[uniqueViolation(error) ?? ''];
      throw taken ? alreadyExists(taken) : error;
    }
  }

  /** What a verification link is good for; undefined when it does not verify, whatever the cause. Changes nothing. */
  findVerificationLink(token: string): Promise<VerificationLink | undefined> {
    return this.verifications.find(token);
  }

  /**
   * Marks the address as verified; again by the same link is success too, while nothing has changed.
   *
   * @throws RpcError FAILED_PRECONDITION, always the same, when the token does not verify.
   */
  async verifyEmail(token: string): Promise<User> {
    const user = await this.verifications.redeem(token);
    if (!user)
      throw RpcError.failedPrecondition('this verification link is not valid, or no longer', { reason: 'VERIFICATION_LINK_INVALID' });
    return user;
  }

  /**
   * Has a fresh link mailed, at most one a minute for an address, and at most ten
   * a day with that of the sign-up. For an address that is unknown or verified
   * everything is done alike, with a task that finds nobody: neither the answer
   * nor its time tells which it was.
   */
  async resendVerificationEmail(email: string): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      const [user] = await manager.query<{ id: string }[]>(
        'SELECT id FROM users WHERE lower(email) = lower($1) AND NOT is_email_verified',
        [email],
      );
      const key = createHmac('sha256', this.config.SECRET_KEY).update(`resend:${email.toLowerCase()}`).digest('base64url');
      await this.tasks.distribute(SendVerificationEmail, { userId: user?.id ?? uuidv7() }, { manager, unique: { key, for: '1m' } });
    });
  }

  /** Before the hashing, which is dear; the unique indexes have the last word. */
  private async refuseTaken(username: string, email: string): Promise<void> {
    const [taken] = await this.dataSource.query<{ username: boolean }[]>(
      'SELECT lower(username) = lower($1) AS username FROM users WHERE lower(username) = lower($1) OR lower(email) = lower($2) LIMIT 1',
      [username, email],
    );
    if (taken) throw alreadyExists(UNIQUE_FIELDS[taken.username ? 'users_username' : 'users_email']!);
  }
}

function alreadyExists({ field, name }: { field: string; name: string }): RpcError {
  return RpcError.alreadyExists(`this ${name} is taken`, { field, reason: `${field.toUpperCase()}_TAKEN` });
}
