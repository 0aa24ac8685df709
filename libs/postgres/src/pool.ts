import pg from 'pg';
import type { Limits } from './client.js';
import { limit } from './limit.js';
import { PoolClient } from './pool-client.js';

/** What is said when no connection was free in time, and when one was not open in time; `pg`'s own words for it. */
const NONE_FREE = 'timeout exceeded when trying to connect';
const NOT_OPEN = 'Connection terminated due to connection timeout';

type Answer = (error: Error | undefined, client: pg.PoolClient | undefined, release: (error?: Error | boolean) => void) => void;

/** What is used here of `pg`'s pool, which its types do not tell of. */
interface Internals {
  readonly _pendingQueue: { readonly callback: unknown }[];
}

/** Connections that are used by one after the other. Each, and the wait for one, has its {@link Limits}. */
export class Pool extends pg.Pool {
  private readonly connectLimit: number | undefined;

  constructor(options: pg.PoolConfig & Limits) {
    super({ Client: PoolClient, ...options });
    this.connectLimit = options.connectLimit;
  }

  override connect(callback?: Answer): never {
    if (!callback) {
      return new Promise((resolve, reject) => this.connect((error, client) => (client ? resolve(client) : reject(error!)))) as never;
    }
    let isOver = false;
    const stop = limit(this.connectLimit, () => {
      isOver = true;
      callback(new Error(this.forget(answer) ? NONE_FREE : NOT_OPEN), undefined, () => undefined);
    });
    const answer: Answer = (error, client, release) => {
      stop();
      if (isOver) release();
      else callback(error, client, release);
    };
    return super.connect(answer as never) as never;
  }

  /** Nobody waits for this answer any more. @returns whether it was in the queue; else a connection is being opened, which the next one will have. */
  private forget(answer: Answer): boolean {
    const { _pendingQueue } = this as unknown as Internals;
    const place = _pendingQueue.findIndex(({ callback }) => callback === answer);
    if (place < 0) return false;
    _pendingQueue.splice(place, 1);
    return true;
  }
}
