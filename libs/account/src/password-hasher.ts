import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { callIsCostly, currentSource, RpcError } from '@app/rpc';
import { hash, verify } from '@node-rs/argon2';
import { availableParallelism } from 'node:os';
import { FairRoom, RoomIsFull } from './fair-room.js';
import { normalisePassword } from './password-policy.js';

/** OWASP's first choice for argon2id, which is the library's default algorithm: 19 MiB, two passes, one lane. */
const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

/** Is nobody's: the form of a hash with the parameters of all, and a content that no password has. */
const NOBODYS = `$argon2id$v=19$m=${ARGON2ID.memoryCost},t=${ARGON2ID.timeCost},p=${ARGON2ID.parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** How many may wait, of all sources; at some 20 ms a hash and core, the last one waits for a second or two. */
const WAITING = 100;

/**
 * Hashes passwords, in NFC, no more at a time than keep the cores busy: a flood of
 * sign-ups cannot eat the memory. Sources take turns, so that whoever floods
 * delays the others by no more than one hash each time.
 */
@Injectable()
export class PasswordHasher {
  private readonly room: FairRoom;

  constructor(config: Config) {
    // One more than there are cores, or a core would wait for this thread whenever a hash has ended. And one thread of Node's
    // pool is left to what else needs one, such as signing a token: it would wait for a hash to end.
    const atOnce = Math.max(1, Math.min(availableParallelism() + 1, config.UV_THREADPOOL_SIZE - 1));
    this.room = new FairRoom(atOnce, WAITING);
  }

  /** @throws RpcError RESOURCE_EXHAUSTED when too many of the same source are waiting. */
  hash(password: string): Promise<string> {
    return this.inTurn('TOO_MANY_SIGN_UPS', () => hash(normalisePassword(password), ARGON2ID));
  }

  /**
   * Whether a hash is of this password; costs as much as {@link hash}.
   *
   * @throws RpcError RESOURCE_EXHAUSTED when too many of the same source are waiting.
   */
  verify(passwordHash: string, password: string): Promise<boolean> {
    return this.inTurn('TOO_MANY_LOG_INS', () => verify(passwordHash, normalisePassword(password)));
  }

  /** As {@link verify}, and as dear where nobody has the hash: nobody can tell by the time whether there is somebody. */
  verifyOf(passwordHash: string | undefined, password: string): Promise<boolean> {
    return this.verify(passwordHash ?? NOBODYS, password);
  }

  private async inTurn<T>(reason: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.room.serve(currentSource() ?? '', () => {
        callIsCostly();
        return work();
      });
    } catch (error) {
      if (!(error instanceof RoomIsFull)) throw error;
      throw RpcError.resourceExhausted('too many passwords are being checked at the moment, try again in a few seconds', {
        reason,
        retryDelay: 3_000,
      });
    }
  }
}
