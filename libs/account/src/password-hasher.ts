import { Injectable } from '@nestjs/common';
import { RpcError } from '@app/rpc';
import { hash, verify } from '@node-rs/argon2';
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';
import { normalisePassword } from './password-policy.js';

/** OWASP's first choice for argon2id, which is the library's default algorithm: 19 MiB, two passes, one lane. */
const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

/** How many may wait; at some 20 ms a hash and core, the last one waits for a second or two. */
const QUEUE_LENGTH = 100;

/** Hashes passwords, in NFC, no more at a time than there are cores: a flood of sign-ups cannot eat the memory. */
@Injectable()
export class PasswordHasher {
  private readonly limit = pLimit(availableParallelism());

  /** @throws RpcError RESOURCE_EXHAUSTED when too many are waiting. */
  hash(password: string): Promise<string> {
    return this.inTurn(() => hash(normalisePassword(password), ARGON2ID));
  }

  /**
   * Whether a hash is of this password; costs as much as {@link hash}.
   *
   * @throws RpcError RESOURCE_EXHAUSTED when too many are waiting.
   */
  verify(passwordHash: string, password: string): Promise<boolean> {
    return this.inTurn(() => verify(passwordHash, normalisePassword(password)));
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.limit.pendingCount >= QUEUE_LENGTH)
      throw RpcError.resourceExhausted('too many sign-ups at the moment, try again in a few seconds', {
        reason: 'TOO_MANY_SIGN_UPS',
        retryDelay: 3_000,
      });
    return this.limit(work);
  }
}
