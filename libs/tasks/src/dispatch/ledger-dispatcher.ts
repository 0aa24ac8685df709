import { Injectable } from '@nestjs/common';
import { Claims } from '../ledger/claims.js';
import { Listener } from '../ledger/listener.js';
import { Takeover } from '../ledger/takeover.js';
import { WorkerLease } from '../ledger/worker-lease.js';
import { TaskLogger } from '../task-logger.js';
import { EngineOptions } from '../options.js';
import { Waker } from '../distribute/waker.js';
import { Dispatcher, type WorkerStore } from './dispatcher.js';
import { LedgerBackend } from './ledger-backend.js';
import { QuarantineSlot } from './quarantine-slot.js';
import { QueueClaims } from './queue-claims.js';
import { Releases } from './releases.js';
import { StartOrder } from './start-order.js';

/** The ledger itself, on which BullMQ's workers work through a {@link LedgerBackend} for each queue. */
@Injectable()
export class LedgerDispatcher extends Dispatcher {
  readonly name = 'ledger';
  readonly needsRightClock = false;
  /** A claim is in the row. */
  readonly claimant = undefined;
  private readonly queues: ReadonlyMap<string, QueueClaims>;
  private readonly releases: Releases;

  constructor(
    { queueNames }: EngineOptions,
    claims: Claims,
    waker: Waker,
    private readonly lease: WorkerLease,
    private readonly listener: Listener,
    private readonly takeover: Takeover,
    private readonly slot: QuarantineSlot,
    logger: TaskLogger,
  ) {
    super();
    this.releases = new Releases(
      claims,
      (queues) => {
        for (const queue of queues) {
          this.queues.get(queue)?.wake();
          waker.wake(queue);
        }
      },
      (error) => logger.trouble('releases', error),
    );
    const release = this.releases.add.bind(this.releases);
    const order = new StartOrder();
    this.queues = new Map(
      queueNames.map((name) => [name, new QueueClaims(name, { claims, worker: () => lease.id, slot: this.slot, order, release })]),
    );
    this.slot.onFree = () => {
      for (const queue of this.queues.values()) queue.wakeQuarantine();
    };
  }

  /** BullMQ's store for one queue. */
  backend(queue: string): LedgerBackend {
    const claims = this.queues.get(queue);
    if (!claims) throw new Error(`the queue "${queue}" is not one of this app's`);
    return new LedgerBackend(queue, {
      claims,
      release: (release) => this.releases.add(release),
      onQuarantinedEnd: () => this.slot.free(),
    });
  }

  get loops() {
    return { releases: this.releases.loop, ...Object.fromEntries([...this.queues].map(([name, claims]) => [`claims of ${name}`, claims])) };
  }

  storeOf(): WorkerStore {
    // BullMQ's types know only Redis here; a TaskWorker knows the ledger.
    return { connection: this as never };
  }

  async start(): Promise<void> {
    this.lease.onLost = () => {
      for (const queue of this.queues.values()) queue.forget();
      this.onLost();
    };
    await this.lease.start();
    this.releases.start();
    this.takeover.start();
    this.listener.on('task', (names) => {
      for (const name of names.split(',')) this.queues.get(name)?.wake();
    });
    this.listener.on('connected', () => {
      for (const queue of this.queues.values()) queue.wake();
    });
    this.listener.on('cancel', (id) => {
      for (const queue of this.queues.values()) queue.drop(id);
    });
    this.listener.on('pause', (name) => void this.queues.get(name)?.giveBack());
  }

  mayFetch(): boolean {
    return true;
  }

  regained(): void {}

  halt(): void {
    for (const queue of this.queues.values()) void queue.halt();
  }

  async stop(): Promise<void> {
    await this.takeover.stop();
    await Promise.all([...this.queues.values()].map((queue) => queue.halt()));
    await this.releases.stop();
    await this.lease.stop();
  }
}
