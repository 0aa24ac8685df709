import { Injectable } from '@nestjs/common';
import { DatabaseClock } from '../../ledger/database-clock.js';
import { WorkerLease } from '../../ledger/worker-lease.js';
import { TaskLogger } from '../../task-logger.js';
import { Dispatcher, type WorkerStore } from '../dispatcher.js';
import { LostFetches } from './lost-fetches.js';
import { LostWorkers } from './lost-workers.js';
import { TaskQueues } from './queues.js';
import { Reconciler } from './reconciler.js';
import { Relay } from './relay.js';

/** BullMQ on Redis: the relay fills it, the reconciler finds what it has lost, and it is told whose workers are. */
@Injectable()
export class RedisDispatcher extends Dispatcher {
  readonly name = 'redis';
  /** BullMQ takes what is delayed out of Redis when it is due by the clock of the worker that asks. */
  readonly needsRightClock = true;

  constructor(
    private readonly queues: TaskQueues,
    private readonly relay: Relay,
    private readonly reconciler: Reconciler,
    private readonly lease: WorkerLease,
    private readonly lostWorkers: LostWorkers,
    private readonly lostFetches: LostFetches,
    private readonly clock: DatabaseClock,
    private readonly logger: TaskLogger,
  ) {
    super();
  }

  // What waits for Redis itself is none of them: its clients wait for a Redis that is away.
  get loops() {
    return { relay: this.relay.loop };
  }

  get claimant(): string {
    return String(this.lease.id);
  }

  storeOf(queue: string): WorkerStore {
    const { connection, prefix } = this.queues.of(queue).opts;
    return { connection, prefix };
  }

  async start(): Promise<void> {
    for (const queue of this.queues.all()) {
      queue.on('error', (error) => this.logger.trouble(queue.name, error));
    }
    this.lease.onLost = () => this.onLost();
    await this.lease.start();
    this.relay.start();
    this.reconciler.start();
    this.lostWorkers.start();
    this.lostFetches.start((token) => this.isHeld(token));
  }

  mayFetch(): boolean {
    return this.clock.isRight;
  }

  regained(queue: string): void {
    this.reconciler.suspect(queue);
    this.lostFetches.suspect(queue);
  }

  /** The workers ask for nothing more by themselves. */
  halt(): void {}

  async stop(): Promise<void> {
    await Promise.all([this.relay.stop(), this.reconciler.stop(), this.lostWorkers.stop(), this.lostFetches.stop()]);
    await this.lease.stop();
  }
}
