import { Injectable } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import { answered } from './answered.js';
import { jobOf } from '../job.js';
import { DatabaseClock } from '../../ledger/database-clock.js';
import { Handover, HANDOVER_SIZE } from '../../ledger/handover.js';
import type { PendingTask } from '../../ledger/ledger.js';
import { Listener } from '../../ledger/listener.js';
import { Loop } from '../../loop.js';
import { TaskLogger } from '../../task-logger.js';
import { TaskQueues } from './queues.js';

/** Milliseconds. */
const POLL_INTERVAL = 2_000;

/**
 * Moves tasks from the ledger into BullMQ on Redis, those of the queues that this
 * process serves. Every worker process runs one; they share the work by `SKIP LOCKED`. Woken by the process that wrote a task, once
 * that is committed; the poll behind it finds what a lost wake-up left.
 */
@Injectable()
export class Relay {
  readonly loop = new Loop(
    () => this.dispatch(),
    POLL_INTERVAL,
    (error) => this.logger.trouble('relay', error),
  );
  private stopped = false;
  /** Whether the last run failed. */
  private failing = false;

  constructor(
    private readonly handover: Handover,
    private readonly queues: TaskQueues,
    private readonly listener: Listener,
    private readonly clock: DatabaseClock,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.loop.start();
    this.listener.on('task', () => this.loop.wake()).on('connected', () => this.loop.wake());
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.loop.stop();
  }

  private async dispatch(): Promise<void> {
    // A claim that cannot be dispatched leaves dead rows behind: while the dispatcher takes none, ask it first.
    if (this.failing) await answered(this.queues.ask());
    this.failing = true;
    if ((await this.dispatchBatch()) >= HANDOVER_SIZE) {
      // While one batch is on its way to the dispatcher, the database works on another.
      const lanes = await Promise.allSettled([this.dispatchBacklog(), this.dispatchBacklog()]);
      for (const lane of lanes) if (lane.status === 'rejected') throw lane.reason;
    }
    this.failing = false;
    this.logger.well('relay');
  }

  private async dispatchBacklog(): Promise<void> {
    while (!this.stopped && (await this.dispatchBatch()) >= HANDOVER_SIZE);
  }

  private dispatchBatch(): Promise<number> {
    this.loop.progress();
    return this.handover.dispatchPending(this.queues.names, (tasks) => answered(this.add(tasks)));
  }

  private async add(tasks: PendingTask[]): Promise<void> {
    const byQueue = Map.groupBy(tasks, (task) => task.queue);
    await Promise.all(
      [...byQueue].map(async ([queue, group]) => {
        await this.queues.of(queue).addBulk(group.map((task) => jobOf(task, this.clock.now())));
        await faultPoint('relay.after-add');
      }),
    );
  }
}
