import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { callIsCostly, currentSource, RpcError } from '@app/rpc';
import { Piscina } from 'piscina';
import { FairRoom, RoomIsFull } from './fair-room.js';
import { normalisePassword } from './password-policy.js';
import type * as passwordThread from './password-thread.js';

/** OWASP's first choice for argon2id, which is the library's default algorithm: 19 MiB, two passes, one lane. */
const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

/** Is nobody's: the form of a hash with the parameters of all, and a content that no password has. */
const NOBODYS = `$argon2id$v=19$m=${ARGON2ID.memoryCost},t=${ARGON2ID.timeCost},p=${ARGON2ID.parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** How many may wait, of all sources; at some 20 ms a hash and core, the last one waits for a second or two. */
const WAITING = 100;

/**
 * A core is kept busy by one thread. With more than eight the api's own thread,
 * which has some 2 ms to do for each log-in, is what log-ins wait for.
 */
const THREADS = Math.min(availableParallelism(), 8);

/** Lies beside this module, as TypeScript where Node runs that, and beside its bundle. */
const THREAD = new URL(`./password-thread${extname(import.meta.filename)}`, import.meta.url).href;

/**
 * Hashes passwords, in NFC, no more at a time than keep the cores busy: a flood of
 * sign-ups cannot eat the memory. Sources take turns, so that whoever floods
 * delays the others by no more than one hash each time.
 *
 * Threads of its own hash, from the first password on, and not those of Node's pool:
 * a hash is done in four fifths of the time where the one before it was done by the
 * same thread, and what else needs Node's pool, such as signing a token, does not
 * wait for one.
 */
@Injectable()
export class PasswordHasher implements OnApplicationShutdown {
  /** One more than there are threads is given away: it waits at a thread, which would else wait for this one after each hash. */
  private readonly room = new FairRoom(THREADS + 1, WAITING);
  private threads: Piscina | undefined;

  /** @throws RpcError RESOURCE_EXHAUSTED when too many of the same source are waiting. */
  hash(password: string): Promise<string> {
    return this.inTurn('TOO_MANY_SIGN_UPS', 'hash', [normalisePassword(password), ARGON2ID]);
  }

  /**
   * Whether a hash is of this password; costs as much as {@link hash}.
   *
   * @throws RpcError RESOURCE_EXHAUSTED when too many of the same source are waiting.
   */
  verify(passwordHash: string, password: string): Promise<boolean> {
    return this.inTurn('TOO_MANY_LOG_INS', 'verify', [passwordHash, normalisePassword(password)]);
  }

  /** As {@link verify}, and as dear where nobody has the hash: nobody can tell by the time whether there is somebody. */
  verifyOf(passwordHash: string | undefined, password: string): Promise<boolean> {
    return this.verify(passwordHash ?? NOBODYS, password);
  }

  private async inTurn<Name extends keyof Work>(
    reason: string,
    name: Name,
    args: Parameters<Work[Name]>[0],
  ): Promise<ReturnType<Work[Name]>> {
    try {
      return await this.room.serve(currentSource() ?? '', () => {
        callIsCostly();
        this.threads ??= new Piscina({ filename: THREAD, minThreads: THREADS, maxThreads: THREADS, concurrentTasksPerWorker: 2 });
        return this.threads.run(args, { name });
      });
    } catch (error) {
      if (!(error instanceof RoomIsFull)) throw error;
      throw RpcError.resourceExhausted('too many passwords are being checked at the moment, try again in a few seconds', {
        reason,
        retryDelay: 3_000,
      });
    }
  }

  async onApplicationShutdown(): Promise<void> {
    await this.threads?.destroy();
  }
}

type Work = typeof passwordThread;
