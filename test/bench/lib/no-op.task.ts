import { Injectable } from '@nestjs/common';
import type { TaskContext } from '@app/tasks';
import { z } from 'zod';
import { Task } from './product.ts';
import { Tally } from './tally.ts';

export const TASK_TYPE = 'bench.no_op';

/** What this process has run. */
export const tally = new Tally();

/** Does nothing, and is counted. */
export class NoOp {
  handle({ number }: { number: number }, task: TaskContext): Promise<void> {
    tally.started(number, task.queue === 'critical' ? 1 : 0);
    return Promise.resolve();
  }
}

// Called and not written above the class: Node runs these files by erasing their types, and decorators are no types.
Task({ type: TASK_TYPE, payload: z.object({ number: z.number() }) })(NoOp);
Injectable()(NoOp);
