import type { ErrorDescription } from '@app/redaction';
import type { StoredOptions } from '../ledger/task-record.entity.js';

/** One delivery of a task, as the runner sees it: no word of BullMQ. */
export interface Delivery {
  id: string;
  type: string;
  queue: string;
  payload: unknown;
  version: number;
  options: StoredOptions;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** When it was due, in milliseconds since 1970; undefined where the dispatcher does not know. */
  dueAt: number | undefined;
  requestId: string | undefined;
  keep: boolean;
  generation: number;
  /** Which start of this generation it is: on Redis every retry, crash and hand-back adds one, from 1 on where it had none before; on the ledger the number of the claim. */
  number: number;
  /** The worker that has claimed the task from the ledger; undefined on Redis. */
  claimedBy: number | undefined;
  /** Whether the task has lost a worker: a process runs one such task at a time, and the next one begins only when the ledger has heard of this one's end. */
  quarantined: boolean;
  /** Failed attempts so far, of all generations. */
  failures: number;
  /** Times a worker was lost while it ran the task in quarantine: on Redis in this generation. */
  crashes: number;
}

/** How a delivery ended, and so what the dispatcher does with the job. */
export type Outcome =
  /** Finished; `moot` when there was nothing left to do. */
  | { kind: 'completed'; moot?: string }
  | { kind: 'retry'; failure: AttemptFailure; delay: number }
  /** `routine`: nobody asked for it, and whoever put it off has said so once for all such tasks. */
  | { kind: 'snooze'; reason: string; delay: number; routine?: true }
  | { kind: 'buried'; failure: AttemptFailure }
  /** Given back to the front of its queue, at no cost. */
  | { kind: 'returned' }
  /** The lock is lost: the job is another worker's, and there is nothing to tell the dispatcher. */
  | { kind: 'lost' };

/** A failed attempt, as the failed-task listener reports it. */
export interface AttemptFailure {
  attempt: number;
  maxAttempts: number;
  error: ErrorDescription;
  /** Why it is the last, if it is. */
  reason?: string;
}
