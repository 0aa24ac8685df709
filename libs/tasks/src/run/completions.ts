import { setTimeout as wait } from 'node:timers/promises';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { type Claim, Ledger } from '../ledger/ledger.js';
import { TaskLogger } from '../task-logger.js';

interface Waiting {
  claim: Claim;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const RETRY_INTERVAL = 500;
/** Longer than a database takes to restart; then the attempt gives up, and its delivery is repeated. Milliseconds. */
const PATIENCE = 60_000;

/** How many tasks at most are done and wait for their deletion while their slots run others already. */
const MAX_POSTED = 1_000;

/**
 * Deletes finished tasks from the ledger, many in one statement: while one batch
 * is under way the next one gathers, so that an idle worker waits for nothing and
 * a busy one pays one round trip for all.
 */
@Injectable()
export class Completions implements OnApplicationShutdown {
  private waiting: Waiting[] = [];
  private flushing = false;
  private stopped = false;
  private readonly posted = new Set<Promise<void>>();

  constructor(
    private readonly ledger: Ledger,
    private readonly logger: TaskLogger,
  ) {}

  /** Resolves once the ledger no longer holds the task. Waits for a database that is away; rejects when that lasts too long. */
  add(claim: Claim): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ claim, resolve, reject });
      if (!this.flushing) void this.flush();
    });
  }

  /**
   * Has the task deleted soon, so that its slot need not wait for the disk. The
   * process holds the claim until then, and tells the ledger until it has heard;
   * should the process crash first, the task runs again, as when it crashes a
   * moment before it is told.
   *
   * @returns what resolves once more may be posted.
   */
  async post(claim: Claim): Promise<void> {
    const recorded = this.insist(claim).finally(() => this.posted.delete(recorded));
    this.posted.add(recorded);
    if (this.posted.size > MAX_POSTED) await recorded;
  }

  /** How many tasks are posted that the ledger still holds. */
  get unrecorded(): number {
    return this.posted.size;
  }

  /** Resolves when the ledger has heard of all that was posted. */
  async recorded(): Promise<void> {
    while (this.posted.size > 0) await Promise.all(this.posted);
  }

  /** Nothing is tried again from now on: the engine's connections end. */
  onApplicationShutdown(): void {
    this.stopped = true;
  }

  private async insist(claim: Claim): Promise<void> {
    while (!this.stopped) {
      try {
        return await this.add(claim);
      } catch (error) {
        // Whatever the database says: a claim that this process keeps would else be held for as long as it lives.
        this.logger.trouble('completions', error);
      }
    }
  }

  private async flush(): Promise<void> {
    this.flushing = true;
    // Lets the handlers that finish in this turn of the event loop join the batch.
    await new Promise(setImmediate);
    while (this.waiting.length > 0) {
      const batch = this.waiting;
      this.waiting = [];
      try {
        await this.deletePatiently(batch.map(({ claim }) => claim));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.flushing = false;
  }

  private async deletePatiently(claims: Claim[]): Promise<void> {
    const giveUpAt = performance.now() + PATIENCE;
    for (;;) {
      try {
        return await this.ledger.deleteCompleted(claims);
      } catch (error) {
        if (this.stopped || performance.now() > giveUpAt) throw error;
        await wait(RETRY_INTERVAL);
      }
    }
  }
}
