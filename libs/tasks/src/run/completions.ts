import { setTimeout as wait } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { type Claim, Ledger } from '../ledger/ledger.js';

interface Waiting {
  claim: Claim;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const RETRY_INTERVAL = 500;
/** Longer than a database takes to restart; then the attempt gives up, and its delivery is repeated. Milliseconds. */
const PATIENCE = 60_000;

/**
 * Deletes finished tasks from the ledger, many in one statement: while one batch
 * is under way the next one gathers, so that an idle worker waits for nothing and
 * a busy one pays one round trip for all.
 */
@Injectable()
export class Completions {
  private waiting: Waiting[] = [];
  private flushing = false;

  constructor(private readonly ledger: Ledger) {}

  /** Resolves once the ledger no longer holds the task. Waits for a database that is away; rejects when that lasts too long. */
  add(claim: Claim): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ claim, resolve, reject });
      if (!this.flushing) void this.flush();
    });
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
        if (performance.now() > giveUpAt) throw error;
        await wait(RETRY_INTERVAL);
      }
    }
  }
}
