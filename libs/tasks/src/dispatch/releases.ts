import { isTransient } from '@app/postgres';
import { Loop } from '../loop.js';
import type { Claims, Release } from '../ledger/claims.js';

/** Milliseconds. */
const RETRY_INTERVAL = 500;

interface Waiting {
  release: Release;
  resolve: () => void;
}

/**
 * Gives claims up, many in one statement, and again until the ledger has heard of
 * it: a claim that nobody gives up would be held for as long as this process
 * lives. They are never more than what this process had claimed.
 */
export class Releases {
  private waiting: Waiting[] = [];
  readonly loop: Loop;

  /**
   * @param onReleased called with the queues that have something to do for it.
   * @param onTrouble called with what the database says while it takes none.
   */
  constructor(
    private readonly claims: Claims,
    private readonly onReleased: (queues: string[]) => void,
    onTrouble: (error: unknown) => void,
  ) {
    this.loop = new Loop(() => this.flush(), RETRY_INTERVAL, onTrouble);
  }

  start(): void {
    this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** Resolves when the ledger has it. */
  add(release: Release): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push({ release, resolve });
      this.loop.wake();
    });
  }

  /** Whatever comes up while a flush is under way is the next one's. */
  private async flush(): Promise<void> {
    const batch = this.waiting;
    if (batch.length === 0) return;
    this.waiting = [];
    let queues: string[];
    try {
      queues = await this.claims.release(batch.map(({ release }) => release));
    } catch (error) {
      this.waiting = [...batch, ...this.waiting];
      if (isTransient(error)) throw error;
      throw new Error('claims could not be given up', { cause: error });
    }
    for (const { resolve } of batch) resolve();
    if (queues.length > 0) this.onReleased(queues);
  }
}
