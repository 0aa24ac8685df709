import { Inject, Injectable, Optional, type Type } from '@nestjs/common';
import { Config } from '@app/config';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { type Backoff, backoffDelay } from './backoff.js';
import { type Duration, milliseconds } from './duration.js';
import { InvalidTask } from './errors.js';
import { payloadJson } from './json.js';
import { Ledger } from './ledger/ledger.js';
import { type QueueName, type TaskHandler, type TaskOptions, policyOf, wholeNumber } from './task.js';
import { currentTask } from './task-scope.js';
import type { StoredOptions } from './ledger/task-record.entity.js';
import { Waker } from './waker.js';

/** Tells the engine which request is being served, so that its tasks can be traced to it. */
export const CORRELATION_ID = Symbol('waybill.correlation-id');
export type CorrelationId = () => string | undefined;

/** A task that starts later than this is found by the relay's poll in time; it needs no wake-up. Milliseconds. */
const WAKE_WITHIN = 3_000;

/** Options of one distribution. The caller has the last word: they win over the task's own. */
export interface DistributeOptions extends TaskOptions {
  /** The transaction that makes the task true: the task exists exactly when it commits. */
  manager?: EntityManager;
  queue?: QueueName;
  /** How long to wait before the first attempt. */
  processIn?: Duration;
  /** When to make the first attempt. */
  processAt?: Date;
  /** When the task is no longer worth an attempt. */
  deadline?: Date;
  backoff?: Backoff;
  /**
   * At most one task of its type with this key at a time: until it is done or
   * buried, or until `for` has passed since it was distributed. The key may be read by
   * operators: derive it where it would tell something personal.
   */
  unique?: { key: string; for?: Duration };
}

/** What became of a distribution. */
export interface Distributed {
  id: string;
  /** There was a task with the same unique key already; `id` is that one's. */
  duplicate: boolean;
}

/** Hands tasks to the workers, by way of the ledger. It needs the database and nothing else. */
@Injectable()
export class TaskDistributor {
  private readonly queues: ReadonlySet<string>;

  constructor(
    private readonly dataSource: DataSource,
    private readonly ledger: Ledger,
    private readonly waker: Waker,
    config: Config,
    @Optional() @Inject(CORRELATION_ID) private readonly correlationId?: CorrelationId,
  ) {
    this.queues = new Set(config.QUEUE_WEIGHTS.queues.map((queue) => queue.name));
  }

  /**
   * Distributes a task: it is run once the transaction of `options.manager`, or
   * without one a transaction of its own, has committed, and never if that rolls
   * back.
   *
   * @throws InvalidTask before anything is written, when the payload or an option cannot be used.
   */
  async distribute<Payload>(
    task: Type<TaskHandler<Payload>>,
    payload: NoInfer<Payload>,
    options: DistributeOptions = {},
  ): Promise<Distributed> {
    const policy = policyOf(task);
    const queue = options.queue ?? policy.queue;
    if (!this.queues.has(queue)) {
      throw new InvalidTask(`${policy.type}: the queue "${queue}" is not in this app's QUEUE_WEIGHTS (${[...this.queues].join(', ')})`);
    }
    const json = await payloadJson(policy, payload);
    try {
      const row = {
        id: uuidv7(),
        type: policy.type,
        queue,
        payload: json,
        version: policy.version,
        requestId: this.correlationId?.() ?? currentTask()?.requestId,
        options: storedOptions(policy, options),
        ...startOf(options),
        ...(options.unique && uniqueOf(options.unique)),
      };
      const manager = options.manager ?? this.dataSource.manager;
      const distributed = await this.ledger.insert(manager, row);
      const due = row.processAt ? row.processAt.getTime() - Date.now() : (row.processIn ?? 0);
      if (!distributed.duplicate && due <= WAKE_WITHIN) this.waker.afterCommitOf(manager, queue);
      return distributed;
    } catch (error) {
      if (error instanceof RangeError) throw new InvalidTask(`${policy.type}: ${error.message}`);
      throw error;
    }
  }
}

function storedOptions(policy: { maxRetry: number; timeout: number; retention: number }, options: DistributeOptions): StoredOptions {
  const { maxRetry, timeout, retention, deadline, backoff } = options;
  if (deadline !== undefined && Number.isNaN(deadline.getTime())) throw new RangeError('deadline is not a date');
  if (backoff !== undefined) backoffDelay(backoff, 0, undefined);
  const kept = retention === undefined ? policy.retention : milliseconds(retention, 'retention');
  return {
    maxRetry: maxRetry === undefined ? policy.maxRetry : wholeNumber(maxRetry, 'maxRetry'),
    timeout: timeout === undefined ? policy.timeout : milliseconds(timeout, 'timeout'),
    ...(deadline && { deadline: deadline.toISOString() }),
    ...(kept > 0 && { retention: kept }),
    ...(backoff && { backoff }),
  };
}

function startOf({ processIn, processAt }: DistributeOptions): { processIn?: number; processAt?: Date } {
  if (processIn !== undefined && processAt !== undefined) throw new RangeError('processIn and processAt exclude each other');
  if (processIn !== undefined) return { processIn: milliseconds(processIn, 'processIn') };
  if (processAt === undefined) return {};
  if (Number.isNaN(processAt.getTime())) throw new RangeError('processAt is not a date');
  milliseconds(Math.max(0, processAt.getTime() - Date.now()), 'processAt');
  return { processAt };
}

function uniqueOf(unique: { key: string; for?: Duration }): { uniqueKey: string; uniqueFor?: number } {
  if (typeof unique.key !== 'string' || unique.key.includes('\0') || !unique.key.isWellFormed()) {
    throw new RangeError('unique.key must be a text without U+0000 and without half a surrogate pair');
  }
  if (unique.key === '' || unique.key.length > 255) throw new RangeError('unique.key must have 1 to 255 characters');
  return { uniqueKey: unique.key, ...(unique.for !== undefined && { uniqueFor: milliseconds(unique.for, 'unique.for') }) };
}
