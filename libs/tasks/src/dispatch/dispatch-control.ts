import type { EntityManager } from 'typeorm';
import type { TaskRecord } from '../ledger/task-record.entity.js';

/** How many tasks of a queue the dispatcher has, by what they wait for. */
export interface QueueCounts {
  waiting: number;
  active: number;
  delayed: number;
}

/** What is needed of a task to find it where it was dispatched to. */
export type Dispatched = Pick<TaskRecord, 'id' | 'queue' | 'generation' | 'state' | 'runAt' | 'claimedBy'>;

/** What operators ask of the dispatcher, and tell it. */
export abstract class DispatchControl {
  abstract readonly name: 'ledger' | 'redis';

  /** Why the dispatcher takes no tasks now, in a sentence; undefined when it does. */
  abstract trouble(): Promise<string | undefined>;

  /** By the names of the queues. */
  abstract count(): Promise<ReadonlyMap<string, QueueCounts>>;

  /** What the dispatcher says of a task: `active`, `waiting`, `delayed` or another word of its own; undefined when it knows none of it. */
  abstract stateOf(task: Dispatched): Promise<string | undefined>;

  /**
   * Takes a task out of the dispatcher whose row is locked, and is deleted by the same transaction.
   *
   * @returns whether a worker runs it; that one is told.
   */
  abstract remove(task: Dispatched, manager: EntityManager): Promise<boolean>;

  /** No worker takes a task of the queue until it is resumed; running ones finish. */
  abstract pause(queue: string): Promise<void>;

  abstract resume(queue: string): Promise<void>;
}
