import type { Type } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { z } from 'zod';
import { type Backoff, backoffDelay, type BackoffFunction } from './backoff.js';
import { type Duration, milliseconds } from './duration.js';

/**
 * The queues that tasks may name. A project adds its own by declaration merging,
 * `declare module '@app/tasks' { interface Queues { reports: true } }`, and
 * gives it a weight.
 */
export interface Queues {
  critical: true;
  default: true;
}

export type QueueName = keyof Queues;

/** What a handler is told about the attempt it makes. */
export interface TaskContext {
  /** The task's id, the same for every attempt: the idempotency key for effects outside the database. */
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  /** Which attempt this is, from 1; attempts that crashed or were handed back do not count. */
  readonly attempt: number;
  /** How many attempts there are before the task is buried. */
  readonly maxAttempts: number;
  /** When the task was committed. */
  readonly createdAt: Date;
  /** The request that led to the task, where there was one. */
  readonly requestId: string | undefined;
  /** Aborts at the timeout, at the deadline, on cancellation, when the lock is lost and at the end of a shutdown. */
  readonly signal: AbortSignal;

  /**
   * Runs the task's database effects and its completion in one transaction: they
   * happen once, whatever crashes. The task is done when it returns. `work` may
   * run beside that of another attempt, of which one is rolled back; what it does
   * other than through `manager` is not.
   *
   * Once an attempt: one that was rolled back may be tried again.
   *
   * @throws Error, before anything begins, when another one of this attempt is under way or has completed the task.
   * @throws StaleAttempt, rolling back, when this attempt does not own its task, at the beginning or at the end.
   */
  transaction<T>(work: (manager: EntityManager) => Promise<T>): Promise<T>;

  /** Records how far the task is; whatever JSON can hold. Shown to operators. */
  progress(value: unknown): Promise<void>;
}

/** Does the work of one type of task. It may be run twice for one task, and says in its comment what happens then. */
export interface TaskHandler<Payload> {
  /** What it returns is kept when the task has a `retention`. */
  handle(payload: Payload, task: TaskContext): Promise<unknown>;

  /**
   * Called once when the task is buried, in the transaction that buries it.
   * Whatever it does through `manager` happens exactly once, and not at all when
   * it fails or takes longer than 20 s: the task is buried all the same.
   */
  onDead?(payload: unknown, task: DeadTask, manager: EntityManager): Promise<void>;
}

/** Why a task was buried. */
export type DeathReason = 'retries exhausted' | 'retry skipped' | 'unreadable payload' | 'crashed its worker' | 'deadline passed';

/** What `onDead` is told about a task that was buried. */
export interface DeadTask {
  readonly id: string;
  readonly type: string;
  readonly reason: DeathReason;
  /** The last error, without secrets. */
  readonly error: string;
}

/** What can be said both where a task is declared and, with the last word, where it is distributed. */
export interface TaskOptions {
  queue?: QueueName;
  /** Retries after the first attempt; n retries are n + 1 attempts. Default 25, as in asynq. */
  maxRetry?: number;
  /** The longest an attempt may take. Default 30 minutes, as in asynq. */
  timeout?: Duration;
  /** How long the finished task and its result are kept in the ledger. Default: not at all. */
  retention?: Duration;
}

/** What a task runs on by itself. */
export interface Schedule {
  /**
   * Five or six fields, as the `cron-parser` package reads them. Where the zone's
   * clock is changed, one that names hours ticks once for each time that it names;
   * one of every hour goes by the time that passes.
   */
  cron: string;
  /** An IANA time zone. Default UTC. */
  timezone?: string;
  /** What happens to ticks that nobody was there for: nothing, or one run for all of them. Default `skip`. */
  missed?: 'skip' | 'once';
}

/** The declaration of a task: its first line. */
export interface TaskDeclaration<Schema extends z.ZodType> extends TaskOptions {
  /** A written name, because the queue still holds yesterday's tasks when the class is renamed today. */
  type: string;
  /** What the payload must be. It carries ids; the handler reads the rest. */
  payload: Schema;
  backoff?: Backoff | BackoffFunction;
  /** The version of the payload's schema, from 1. Raise it when yesterday's payloads no longer fit. */
  version?: number;
  /** Brings a payload of an older version up to this one; a promise of it is waited for. */
  upcast?: (payload: unknown, version: number) => unknown;
  /** Runs the task by itself, with the payload `{}`, which its schema must take. */
  schedule?: Schedule;
}

/** A declared task, as the engine keeps it: every option decided. */
export interface TaskPolicy {
  readonly type: string;
  readonly queue: string;
  readonly payload: z.ZodType;
  readonly maxRetry: number;
  readonly timeout: number;
  readonly retention: number;
  readonly backoff: Backoff | BackoffFunction | undefined;
  readonly version: number;
  readonly upcast: ((payload: unknown, version: number) => unknown) | undefined;
  readonly schedule: Schedule | undefined;
}

const POLICY = Symbol('waybill.task');
const TYPE = /^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$/;
const DEFAULT_MAX_RETRY = 25;
const DEFAULT_TIMEOUT = '30m';

/**
 * Declares a task; its class is the handler. A handler that does not fit the
 * payload's schema does not compile.
 *
 * @throws Error, when the class is defined, for a declaration that cannot be.
 */
export function Task<Schema extends z.ZodType>(declaration: TaskDeclaration<Schema>) {
  const { type, payload, backoff, upcast, schedule } = declaration;
  if (!TYPE.test(type)) throw new Error(`the task type "${type}" must be words of a-z, 0-9 and _, joined by dots`);
  // A rule that is written down is tried here; one that is a function has to see an error.
  if (typeof backoff === 'object') backoffDelay(backoff, 0, undefined);
  const policy: TaskPolicy = {
    type,
    payload,
    backoff,
    upcast,
    schedule,
    queue: declaration.queue ?? 'default',
    maxRetry: wholeNumber(declaration.maxRetry ?? DEFAULT_MAX_RETRY, 'maxRetry'),
    timeout: milliseconds(declaration.timeout ?? DEFAULT_TIMEOUT, 'timeout'),
    retention: milliseconds(declaration.retention ?? 0, 'retention'),
    version: wholeNumber(declaration.version ?? 1, 'version'),
  };
  return <Handler extends abstract new (...dependencies: never[]) => TaskHandler<z.output<Schema>>>(handler: Handler): void => {
    Reflect.defineMetadata(POLICY, policy, handler);
  };
}

/** The policy of a task's class, or undefined when the class is no task. */
export function findPolicy(handler: object): TaskPolicy | undefined {
  return Reflect.getMetadata(POLICY, handler) as TaskPolicy | undefined;
}

/** The policy of a task's class. @throws TypeError when the class carries no `@Task`. */
export function policyOf(handler: Type<TaskHandler<never>>): TaskPolicy {
  const policy = findPolicy(handler);
  if (!policy) throw new TypeError(`${handler.name} is not a task: it carries no @Task`);
  return policy;
}

/** @throws RangeError when the value is not a whole number from 0 to 10,000. */
export function wholeNumber(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 10_000) throw new RangeError(`${name} must be a whole number from 0 to 10,000`);
  return value;
}
