import {
  type BeforeApplicationShutdown,
  Inject,
  Injectable,
  type INestApplicationContext,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { Dispatcher } from '../dispatch/dispatcher.js';
import { endsWithin } from '../ends-within.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { Election } from '../ledger/election.js';
import { Listener } from '../ledger/listener.js';
import { WorkerLease } from '../ledger/worker-lease.js';
import { Maintenance } from '../operate/maintenance.js';
import { Scheduler } from '../operate/scheduler.js';
import { EngineOptions } from '../options.js';
import { TaskLogger } from '../task-logger.js';
import { startBullWorkers } from './bull-workers.js';
import type { QueueProcessor } from './queue-processor.js';
import { TaskRegistry } from './registry.js';
import { TaskRunner } from './runner.js';
import { Statistics } from './statistics.js';
import { QUEUE_PROCESSORS, TaskProcessor } from './task-processor.js';

/** How long the engine's loops may take to end. Milliseconds. */
const STOP_TIMEOUT = 3_000;

/** Starts the engine when every provider is ready, and stops it, in order, before the database closes. */
@Injectable()
export class TaskEngine implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown {
  /** Holds the workers of BullMQ. */
  private workers: INestApplicationContext | undefined;

  constructor(
    private readonly options: EngineOptions,
    @Inject(QUEUE_PROCESSORS) private readonly processors: ReadonlyMap<string, QueueProcessor>,
    private readonly registry: TaskRegistry,
    private readonly listener: Listener,
    private readonly election: Election,
    private readonly clock: DatabaseClock,
    private readonly lease: WorkerLease,
    private readonly dispatcher: Dispatcher,
    private readonly processor: TaskProcessor,
    private readonly runner: TaskRunner,
    private readonly scheduler: Scheduler,
    private readonly maintenance: Maintenance,
    private readonly statistics: Statistics,
    private readonly logger: TaskLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    this.registry.load();
    await this.scheduler.load();
    this.listener.on('cancel', (id) => this.runner.interrupt(id, 'cancelled'));
    this.dispatcher.onLost = () => this.runner.interruptAll('lock lost');
    this.dispatcher.isHeld = (token) => this.processor.isHeld(token);
    this.lease.running = () => this.runner.inFlight;
    this.listener.start();
    this.election.start();
    await this.dispatcher.start();
    this.workers = await startBullWorkers(this.processors, this.dispatcher);
    this.processor.start(this.dispatcher);
    this.clock.start(this.dispatcher.needsRightClock, () => this.processor.resume());
    this.scheduler.start();
    this.maintenance.start();
    this.statistics.start();
    const types = this.registry.all().map((task) => task.policy.type);
    this.logger.started(this.options.weights, this.options.concurrency, types, this.dispatcher.name);
  }

  async beforeApplicationShutdown(): Promise<void> {
    // Before all else: a loop may wait for a database that is slow or away, and nothing new begins meanwhile.
    this.dispatcher.halt();
    this.processor.halt();
    await Promise.all([
      this.processor.stop(),
      this.end({ clock: this.clock, scheduler: this.scheduler, maintenance: this.maintenance, election: this.election }),
    ]);
    await this.end({ dispatcher: this.dispatcher, statistics: this.statistics });
    await this.listener.stop();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.workers?.close();
  }

  /** Stops them side by side, and waits for none that waits for a database which does not answer. */
  private async end(parts: Record<string, { stop(): Promise<void> }>): Promise<void> {
    await Promise.all(
      Object.entries(parts).map(async ([name, part]) => {
        if (!(await endsWithin(STOP_TIMEOUT, part.stop()))) this.logger.leftBehind(name);
      }),
    );
  }
}
