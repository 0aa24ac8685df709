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
 * How long one turn of a loop may take. A statement of the engine gives up by itself
 * after 12 s, and a turn makes a few of them. Milliseconds.
 */
const HANGS_AFTER = 60_000;
/** The scheduler's statements are the app's, which may allow them more. Milliseconds. */
const SCHEDULER_HANGS_AFTER = 600_000;

/** Whether this process runs tasks, for whoever may start it again. */
@Injectable()
export class TaskHealth {
  constructor(
    private readonly processor: TaskProcessor,
    private readonly dispatcher: Dispatcher,
    private readonly dispatch: DispatchControl,
    private readonly lease: WorkerLease,
    private readonly election: Election,
    private readonly scheduler: Scheduler,
    private readonly maintenance: Maintenance,
  ) {}

  /** Which loop of the engine does not come to an end, in a sentence; undefined while all do. A database or a Redis that is away hangs none. */
  hung(): string | undefined {
    const loops: Readonly<Record<string, Pick<Loop, 'runsFor'>>> = {
      lease: this.lease.renewing,
      election: this.election.asking,
      maintenance: this.maintenance.removing,
      scheduler: this.scheduler.loop,
      ...this.dispatcher.loops,
    };
    for (const [name, { runsFor }] of Object.entries(loops)) {
      const patience = name === 'scheduler' ? SCHEDULER_HANGS_AFTER : HANGS_AFTER;
      if (runsFor > patience) return `the loop "${name}" has hung for more than ${patience / 1_000} s`;
    }
    return undefined;
  }

  /** How many tasks neither ended nor could be given back when the engine was stopped: the log says so, and the process should end with an error. */
  get leftBehind(): number {
    return this.processor.leftBehind;
  }

  /** Why it takes no tasks at the moment, in a sentence; undefined when it does. It takes some seconds at most. */
  async idleBecause(): Promise<string | undefined> {
    if (!this.processor.isOpen) return 'the worker has not begun to take tasks, or does not any more';
    const trouble = await this.dispatch.trouble();
    if (trouble !== undefined) return trouble;
    if (!this.dispatcher.mayFetch()) return "the clock of this machine is not the database's: the worker takes no tasks until it is";
    const { failing } = this.processor;
    return failing === undefined ? undefined : `no task can be taken from the queue "${failing}": the log says why`;
  }
}
