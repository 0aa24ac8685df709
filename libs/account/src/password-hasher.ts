import { Injectable } from '@nestjs/common';
import { RpcError } from '@app/rpc';
import { hash } from '@node-rs/argon2';
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';

/** OWASP's first choice for argon2id, which is the library's default algorithm: 19 MiB, two passes, one lane. */
const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

/** How many may wait; at some 20 ms a hash and core, the last one waits for a second or two. */
const QUEUE_LENGTH = 100;

/** Hashes passwords, no more at a time than there are cores: a flood of sign-ups cannot eat the memory. */
@Injectable()
export class PasswordHasher {
  private readonly limit = pLimit(availableParallelism());

  /** @throws RpcError RESOURCE_EXHAUSTED when too many are waiting. */
  async hash(password: string): Promise<string> {
    if (this.limit.pendingCount >= QUEUE_LENGTH)
      throw RpcError.resourceExhausted('too many sign-ups at the moment, try again in a few seconds', {
        reason: 'TOO_MANY_SIGN_UPS',
        retryDelay: 3_000,
      });
    return this.limit(() => hash(password, ARGON2ID));
  }
}
