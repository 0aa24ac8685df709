import { Injectable } from '@nestjs/common';
import { DispatchControl } from '../dispatch/dispatch-control.js';
import { Dispatcher } from '../dispatch/dispatcher.js';
import { Election } from '../ledger/election.js';
import { WorkerLease } from '../ledger/worker-lease.js';
import type { Loop } from '../loop.js';
import { TaskProcessor } from '../run/task-processor.js';
import { Maintenance } from './maintenance.js';
import { Scheduler } from './scheduler.js';

/**
 * How long one turn of a loop may take. Statements, and calls of Redis, give up by
 * themselves after 12 s at most, and a turn makes a few of them. Milliseconds.
 */
const HANGS_AFTER = 60_000;

/** Whether this process runs tasks, for whoever may start it again. */
@Injectable()
export class TaskHealth {
  private readonly loops: Readonly<Record<string, Loop>>;

  constructor(
    private readonly processor: TaskProcessor,
    private readonly dispatcher: Dispatcher,
    private readonly dispatch: DispatchControl,
    lease: WorkerLease,
    election: Election,
    scheduler: Scheduler,
    maintenance: Maintenance,
  ) {
    this.loops = { lease: lease.renewing, election: election.asking, scheduler: scheduler.loop, maintenance: maintenance.removing };
  }

  /** Which loop of the engine does not come to an end, in a sentence; undefined while all do. A database or a Redis that is away hangs none. */
  hung(): string | undefined {
    const [loop] = Object.entries(this.loops).find(([, { runsFor }]) => runsFor > HANGS_AFTER) ?? [];
    if (loop !== undefined) return `the loop "${loop}" has hung for more than ${HANGS_AFTER / 1_000} s`;
    const queue = this.processor.hungFor(HANGS_AFTER);
    return queue === undefined
      ? undefined
      : `the queue "${queue}" was asked for a task more than ${HANGS_AFTER / 1_000} s ago, and has not answered`;
  }

  /** Why it takes no tasks at the moment, in a sentence; undefined when it does. It takes some seconds at most. */
  async idleBecause(): Promise<string | undefined> {
    if (!this.processor.isOpen) return 'the worker has not begun to take tasks, or does not any more';
    const trouble = await this.dispatch.trouble();
    if (trouble !== undefined) return trouble;
    if (!this.dispatcher.mayFetch()) return "the clock of this machine is not the database's: the worker takes no tasks until it is";
    const queue = this.processor.failing;
    return queue === undefined ? undefined : `no task can be taken from the queue "${queue}": the log says why`;
  }
}
