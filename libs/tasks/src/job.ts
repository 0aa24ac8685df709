import type { StoredOptions } from './task-record.entity.js';

/** What a job in BullMQ carries: ids and policy, and nothing about a person. */
export interface JobData {
  id: string;
  payload: unknown;
  version: number;
  options: StoredOptions;
  generation: number;
  /** Failed attempts of earlier generations. */
  failures: number;
  /** ISO 8601. */
  createdAt: string;
  requestId: string | null;
  keep: boolean;
}

/** One delivery of a task, as the runner sees it: no word of BullMQ. */
export interface Delivery extends JobData {
  type: string;
  queue: string;
  /** Which start of this generation it is, from 1; every retry, crash and hand-back adds one. */
  number: number;
  /** Failed attempts so far, of all generations. */
  failures: number;
  /** Times a worker was lost while it ran the task, in this generation. */
  crashes: number;
}

/** How a delivery ended, and so what the dispatcher does with the job. */
export type Outcome =
  /** Finished; `moot` when there was nothing left to do. */
  | { kind: 'completed'; moot?: string }
  | { kind: 'retry'; failure: AttemptFailure; delay: number }
  | { kind: 'snooze'; reason: string; delay: number }
  | { kind: 'buried'; failure: AttemptFailure }
  /** Given back to the front of its queue, at no cost. */
  | { kind: 'returned' }
  /** The lock is lost: the job is another worker's, and there is nothing to tell the dispatcher. */
  | { kind: 'lost' };

/** A failed attempt, as the failed-task listener reports it. */
export interface AttemptFailure {
  attempt: number;
  maxAttempts: number;
  error: unknown;
  /** Why it is the last, if it is. */
  reason?: string;
}
