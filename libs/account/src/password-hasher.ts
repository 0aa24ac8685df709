import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { callIsCostly, currentSource, RpcError } from '@app/rpc';
import { Piscina } from 'piscina';
import { FairRoom, RoomIsFull } from './fair-room.js';
import { normalisePassword } from './password-policy.js';
import type * as passwordThread from './password-thread.js';
// For nothing but to load it: what cannot hash does not start.
import './password-thread.js';

type Work = typeof passwordThread;

/** OWASP's first choice for argon2id, which is the library's default algorithm: 19 MiB, two passes, one lane. */
const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

/** Is nobody's: the form of a hash with the parameters of all, and a content that no password has. */
const NOBODYS = `$argon2id$v=19$m=${ARGON2ID.memoryCost},t=${ARGON2ID.timeCost},p=${ARGON2ID.parallelism}$${'A'.repeat(22)}$${'A'.repeat(43)}`;

/** How many may wait, of all sources; at 10 to 20 ms a hash and core, the last one waits for a second or two. */
const WAITING = 100;

/**
 * A core is kept busy by one thread, which takes some 12 MiB, and 19 more while it
 * hashes. Of more than four an api with a limit of 512 MiB would have too little left.
 */
const THREADS = Math.min(availableParallelism(), 4);

/** Lies beside this module, as TypeScript where Node runs that, and beside its bundle. */
const THREAD = new URL(`./password-thread${extname(import.meta.filename)}`, import.meta.url).href;

/**
 * Hashes passwords, in NFC, no more at a time than keep the cores busy: a flood of
 * sign-ups cannot eat the memory. Sources take turns, so that whoever floods
 * delays the others by no more than two hashes each time.
 *
 * Threads of its own hash, from the first password on, and not those of Node's pool:
 * a hash is done in four fifths of the time where the one before it was done by the
 * same thread, and what else needs Node's pool, such as signing a token, does not
 * wait for one.
 */
@Injectable()
export class PasswordHasher implements OnApplicationShutdown {
  /** Each thread has the next one waiting, so that no core waits for this thread. */
  private readonly room = new FairRoom(2 * THREADS, WAITING);
  private threads: Piscina | undefined;
  private readonly logger = new Logger('PasswordHasher');

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
        this.threads ??= this.start();
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

  private start(): Piscina {
    const threads = new Piscina({ filename: THREAD, minThreads: THREADS, maxThreads: THREADS, concurrentTasksPerWorker: 2 });
    // Of a thread that has failed without a password to fail for.
    threads.on('error', (error) => this.logger.error(error, 'a thread for passwords has failed'));
    // The library replaces at once a thread that ends, but none that could not begin, for which passwords would wait for ever.
    threads.on('workerDestroy', () => queueMicrotask(() => threads.threads.length < THREADS && void this.end(threads)));
    return threads;
  }

  /** Those who wait for these threads fail; the next password finds new ones. */
  private async end(threads: Piscina | undefined): Promise<void> {
    if (!threads || this.threads !== threads) return;
    this.threads = undefined;
    await threads.destroy();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.end(this.threads);
  }
}
