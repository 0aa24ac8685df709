import { Inject, Injectable, Optional, type Type } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { type Backoff, backoffDelay } from '../declare/backoff.js';
import { type Duration, milliseconds } from '../declare/duration.js';
import { InvalidTask } from '../declare/errors.js';
import { payloadJson } from '../declare/json.js';
import { Ledger, type NewTask } from '../ledger/ledger.js';
import { type QueueName, type TaskHandler, type TaskOptions, type TaskPolicy, policyOf, wholeNumber } from '../declare/task.js';
import { currentTask } from '../declare/task-scope.js';
import type { StoredOptions } from '../ledger/task-record.entity.js';
import { Tally } from '../telemetry/tally.js';
import { SYSTEM, type TraceContext, tracedDistribution } from '../telemetry/trace-context.js';
import { Waker } from './waker.js';

/** Tells the engine which request is being served, so that its tasks can be traced to it. */
export const CORRELATION_ID = Symbol('waybill.correlation-id');
export type CorrelationId = () => string | undefined;

/** A task that starts later than this is found by the workers in time; it needs no wake-up. Milliseconds. */
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

/** Options of many distributions of one task; `unique.key` makes the key of each. */
export interface DistributeManyOptions<Payload> extends Omit<DistributeOptions, 'unique'> {
  unique?: { key: (payload: Payload, index: number) => string; for?: Duration };
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
  private readonly sent: Tally;

  constructor(
    private readonly dataSource: DataSource,
    private readonly ledger: Ledger,
    private readonly waker: Waker,
    options: EngineOptions,
    @Optional() @Inject(CORRELATION_ID) private readonly correlationId?: CorrelationId,
  ) {
    this.queues = new Set(options.queueNames);
    this.sent = new Tally('messaging.client.sent.messages', { unit: '{message}', description: 'Tasks that were committed.' });
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
    const json = await payloadJson(policy, payload);
    const row = usable(policy, () => ({
      ...this.commonOf(policy, options),
      id: uuidv7(),
      payload: json,
      ...(options.unique && { uniqueKey: keyOf(options.unique.key), ...uniqueForOf(options.unique) }),
    }));
    const manager = options.manager ?? this.dataSource.manager;
    const attributes = { 'messaging.message.id': row.id, 'waybill.task.type': policy.type };
    const distributed = await tracedDistribution(row.queue, attributes, (kept) => this.ledger.insert(manager, withTrace(row, kept)));
    if (!distributed.duplicate) this.written(row, 1, manager);
    return distributed;
  }

  /**
   * Distributes a task for each of the payloads, all or none, in few statements: as
   * {@link distribute} does for one. A key that several of them have is the first one's.
   *
   * @returns what became of each, in their order.
   * @throws InvalidTask before anything is written, with the index of the payload, when it cannot be used.
   */
  async distributeMany<Payload>(
    task: Type<TaskHandler<Payload>>,
    payloads: readonly NoInfer<Payload>[],
    options: DistributeManyOptions<NoInfer<Payload>> = {},
  ): Promise<Distributed[]> {
    const policy = policyOf(task);
    const { unique, ...rest } = options;
    const common = usable(policy, () => ({ ...this.commonOf(policy, rest), ...(unique && uniqueForOf(unique)) }));
    const rows: { id: string; payload: string; uniqueKey?: string }[] = [];
    for (const [index, payload] of payloads.entries()) {
      try {
        const json = await payloadJson(policy, payload);
        rows.push({ id: uuidv7(), payload: json, ...(unique && { uniqueKey: usable(policy, () => keyOf(unique.key(payload, index))) }) });
      } catch (error) {
        if (error instanceof InvalidTask)
          throw new InvalidTask(`of ${payloads.length}, number ${index}: ${error.message}`, { cause: error });
        throw error;
      }
    }
    const insert = async (manager: EntityManager) => {
      const attributes = { 'messaging.batch.message_count': rows.length, 'waybill.task.type': policy.type };
      const distributed = await tracedDistribution(common.queue, attributes, (kept) =>
        this.ledger.insertMany(manager, withTrace(common, kept), rows),
      );
      const written = distributed.filter(({ duplicate }) => !duplicate).length;
      if (written > 0) this.written(common, written, manager);
      return distributed;
    };
    return options.manager ? insert(options.manager) : this.dataSource.transaction(insert);
  }

  /** @throws InvalidTask, RangeError for an option that cannot be used. */
  private commonOf(policy: TaskPolicy, options: Omit<DistributeOptions, 'unique'>): Omit<NewTask, 'id' | 'payload' | 'uniqueKey'> {
    const queue = options.queue ?? policy.queue;
    if (!this.queues.has(queue)) {
      throw new InvalidTask(`${policy.type}: the queue "${queue}" is not one of this app's (${[...this.queues].join(', ')})`);
    }
    return {
      type: policy.type,
      queue,
      version: policy.version,
      requestId: this.correlationId?.() ?? currentTask()?.requestId,
      options: storedOptions(policy, options),
      ...requireTime(startOf(options), options.deadline),
    };
  }

  /** Wakes the workers and counts the tasks, once they are committed. */
  private written(
    { type, queue, processAt, processIn = 0 }: Pick<NewTask, 'type' | 'queue' | 'processAt' | 'processIn'>,
    count: number,
    manager: EntityManager,
  ): void {
    const due = processAt ? processAt.getTime() - Date.now() : processIn;
    this.waker.afterCommitOf(manager, () => {
      if (due <= WAKE_WITHIN) this.waker.wake(queue);
      const attributes = {
        'messaging.system': SYSTEM,
        'messaging.operation.name': 'distribute',
        'messaging.destination.name': queue,
        'waybill.task.type': type,
      };
      this.sent.add(`${type} ${queue}`, () => attributes, count);
    });
  }
}

function withTrace<Task extends Pick<NewTask, 'options'>>(task: Task, trace: TraceContext | undefined): Task {
  return trace ? { ...task, options: { ...task.options, trace } } : task;
}

/** @throws InvalidTask in place of a RangeError. */
function usable<T>({ type }: TaskPolicy, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof RangeError) throw new InvalidTask(`${type}: ${error.message}`);
    throw error;
  }
}

function storedOptions(policy: TaskPolicy, options: Omit<DistributeOptions, 'unique'>): StoredOptions {
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

/** @throws RangeError for a task that could make no attempt: no clock but this machine's is at hand here. */
function requireTime<Start extends { processIn?: number; processAt?: Date }>(start: Start, deadline: Date | undefined): Start {
  const { processIn = 0, processAt = new Date(Date.now() + processIn) } = start;
  if (deadline && deadline <= processAt) throw new RangeError('deadline is not after the time of the first attempt');
  return start;
}

function startOf({ processIn, processAt }: DistributeOptions): { processIn?: number; processAt?: Date } {
  if (processIn !== undefined && processAt !== undefined) throw new RangeError('processIn and processAt exclude each other');
  if (processIn !== undefined) return { processIn: milliseconds(processIn, 'processIn') };
  if (processAt === undefined) return {};
  if (Number.isNaN(processAt.getTime())) throw new RangeError('processAt is not a date');
  milliseconds(Math.max(0, processAt.getTime() - Date.now()), 'processAt');
  return { processAt };
}

function keyOf(key: string): string {
  if (typeof key !== 'string' || key.includes('\0') || !key.isWellFormed()) {
    throw new RangeError('unique.key must be a text without U+0000 and without half a surrogate pair');
  }
  if (key === '' || key.length > 255) throw new RangeError('unique.key must have 1 to 255 characters');
  return key;
}

function uniqueForOf(unique: { for?: Duration }): { uniqueFor?: number } {
  return unique.for === undefined ? {} : { uniqueFor: milliseconds(unique.for, 'unique.for') };
}
