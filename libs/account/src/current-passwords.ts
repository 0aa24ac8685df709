import { Injectable } from '@nestjs/common';
import { type Identity, RpcError } from '@app/rpc';
import { DataSource } from 'typeorm';
import { PasswordHasher } from './password-hasher.js';
import { User } from './user.entity.js';
import { WrongGuesses } from './wrong-guesses.js';

/**
 * How many wrong passwords a session is listened to. Whoever has stolen one guesses
 * no further than that, and shuts nobody out: the owner logs in anew.
 */
const GUESSES = { burst: 20, perMinute: 1 / 6 };

/** The password of somebody who is signed in, asked for once more before what cannot be taken back. */
@Injectable()
export class CurrentPasswords {
  private readonly guesses = new WrongGuesses(GUESSES);

  constructor(
    private readonly dataSource: DataSource,
    private readonly passwords: PasswordHasher,
  ) {}

  /**
   * Whose password it is.
   *
   * @returns the account as it was when the password was checked: who changes it holds the row, and compares the hash.
   * @throws RpcError INVALID_ARGUMENT for the field `current_password` when it is another one; RESOURCE_EXHAUSTED when too many
   *   wrong ones came in this session, or too many are waiting; UNAUTHENTICATED when the account is gone.
   */
  async check({ userId, sessionId }: Identity, password: string): Promise<User> {
    const user = await this.dataSource.manager.findOneBy(User, { id: userId });
    if (!user) throw RpcError.unauthenticated('this session has ended', { reason: 'SESSION_ENDED' });
    const isRight = await this.guesses.listen(sessionId, () => this.passwords.verify(user.passwordHash, password));
    if (!isRight) {
      throw RpcError.invalidArgument([{ field: 'current_password', description: 'is not your password' }], undefined, {
        reason: 'CURRENT_PASSWORD_WRONG',
      });
    }
    return user;
  }
}
