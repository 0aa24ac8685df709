import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import { isCutShort, isDatabaseUnavailable } from '@app/postgres';
import { describeError, type ErrorDescription } from '@app/redaction';
import type { EntityManager } from 'typeorm';
import { z } from 'zod';
import { backoffDelay, defaultBackoff } from '../declare/backoff.js';
import { Completions } from './completions.js';
import { HookFailed, RetryIn, RevokeTask, SkipRetry, StaleAttempt, TaskTimeout } from '../declare/errors.js';
import { milliseconds } from '../declare/duration.js';
import type { AttemptFailure, Delivery, Outcome } from '../dispatch/delivery.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { type Claim, Ledger } from '../ledger/ledger.js';
import type { RunningEntry } from '../ledger/task-record.entity.js';
import { type RegisteredTask, TaskRegistry } from './registry.js';
import type { DeathReason, TaskContext } from '../declare/task.js';
import { runInTask } from '../declare/task-scope.js';

/** How often a task may take its worker down before it is buried as poison. */
export const CRASH_BUDGET = 3;

/** How long a task of a type or a version that this worker does not know waits for one that does. Milliseconds. */
const UNKNOWN_DELAY = 60_000;

/** How long a delivery waits that the ledger could not be told of. Milliseconds. */
const LEDGER_DELAY = 5_000;

/** How many different things are said once; more than there are types of tasks. */
const MAX_SAID = 1_000;

/** How long a handler may take to end once its lock is lost. Milliseconds. */
const LOST_LOCK_GRACE = 10_000;

/**
 * Runs around every handler, outermost first; it must call `next`, once, and return what that returns. The attempt
 * ends no sooner than the handler, and a handler that has failed has failed, whatever a middleware makes of that.
 */
export type TaskMiddleware = (task: TaskContext, next: () => Promise<unknown>) => Promise<unknown>;
export const TASK_MIDDLEWARE = Symbol('waybill.task-middleware');

/** Why a running attempt was told to stop. */
export type Interruption = 'timeout' | 'deadline' | 'shutdown' | 'cancelled' | 'lock lost';

class Interrupted extends Error {
  override readonly name = 'Interrupted';
  constructor(readonly interruption: Interruption) {
    super(`interrupted: ${interruption}`);
  }
}

/** How a failed attempt ends. */
interface Ending {
  failure: AttemptFailure;
  /** Milliseconds until the next attempt. */
  delay: number;
  /** Why there is none. */
  reason: DeathReason | undefined;
}

/** The end of an attempt that buries its task; one that no attempt has failed for counts as no failure. */
class Burial extends Error {
  constructor(
    readonly reason: DeathReason,
    override readonly cause: unknown,
    readonly isFailure = true,
  ) {
    super(reason);
  }
}

/** Runs one delivery of a task from its payload to its outcome. It knows the ledger and the handlers, and no dispatcher. */
@Injectable()
export class TaskRunner {
  private readonly logger = new Logger('TaskRunner');
  private readonly running = new Map<string, Attempt>();
  private readonly said = new Set<string>();

  constructor(
    private readonly registry: TaskRegistry,
    private readonly ledger: Ledger,
    private readonly completions: Completions,
    private readonly clock: DatabaseClock,
    @Optional() @Inject(TASK_MIDDLEWARE) private readonly middleware: readonly TaskMiddleware[] = [],
  ) {}

  /** Runs a delivery. It never rejects: whatever is thrown inside becomes an outcome. */
  async run(delivery: Delivery): Promise<Outcome> {
    const claim: Claim = { id: delivery.id, generation: delivery.generation, delivery: delivery.number, claimedBy: delivery.claimedBy };
    const task = this.registry.find(delivery.type);
    const attempt = new Attempt(delivery, claim, this.ledger, this.clock.now());
    this.running.set(delivery.id, attempt);
    try {
      return await this.deliver(attempt, task);
    } catch (error) {
      return await this.endUnrecorded(attempt, task, error);
    } finally {
      if (this.running.get(delivery.id) === attempt) this.running.delete(delivery.id);
    }
  }

  /** Tells a running attempt to stop; false when this process runs none for the task. */
  interrupt(id: string, interruption: Interruption): boolean {
    const attempt = this.running.get(id);
    attempt?.interrupt(interruption);
    return attempt !== undefined;
  }

  /** What this process runs now of a generation of a task, to be told to stop. */
  attemptOf({ id, generation }: Pick<Delivery, 'id' | 'generation'>): { interrupt(interruption: Interruption): void } | undefined {
    const attempt = this.running.get(id);
    return attempt?.delivery.generation === generation ? attempt : undefined;
  }

  interruptAll(interruption: Interruption): void {
    for (const attempt of this.running.values()) attempt.interrupt(interruption);
  }

  /** What this process runs now. */
  get inFlight(): RunningEntry[] {
    return [...this.running.values()].map(({ id, type, queue, since }) => ({ id, type, queue, since }));
  }

  /** How many tasks have ended whose completion the ledger has not heard of. */
  get unrecorded(): number {
    return this.completions.unrecorded;
  }

  /** Resolves when the ledger has heard of every task that is done. */
  recorded(): Promise<void> {
    return this.completions.recorded();
  }

  /** @throws what the ledger throws, and nothing else. */
  private async deliver(attempt: Attempt, task: RegisteredTask | undefined): Promise<Outcome> {
    const { delivery, claim } = attempt;
    let { crashes } = delivery;
    // On the ledger the claim has announced it.
    if (delivery.claimedBy === undefined && (delivery.number > 1 || crashes > 0)) {
      const counted = await this.ledger.begin(claim, crashes);
      if (counted === undefined) return { kind: 'completed', moot: 'the task is done or cancelled' };
      crashes = counted;
    }
    // Before its crashes are judged: the burial is for a worker that has the handler's hook and knows the payload.
    if (!task) return this.putOffUnknown(attempt);
    if (delivery.version > task.policy.version) return this.putOffNewer(attempt, task);
    let result: unknown;
    try {
      if (crashes > CRASH_BUDGET) {
        throw new Burial('crashed its worker', new Error(`its worker was lost ${crashes} times while running it`), false);
      }
      attempt.progressed = 'begun';
      result = await this.perform(attempt, task);
      attempt.progressed = 'succeeded';
    } catch (thrown) {
      // A handler, a middleware, an upcast or a schema: they may throw whatever they like.
      return this.conclude(attempt, task, thrown);
    }
    await faultPoint('worker.before-completion');
    if (attempt.completed) {
      if (delivery.keep && result !== undefined) await this.keepResult(attempt, result);
    } else if (delivery.keep) {
      await this.ledger.keepCompleted(claim, result);
    } else if (delivery.claimedBy !== undefined && !delivery.quarantined) {
      await this.completions.post(claim);
    } else {
      // BullMQ on Redis must not hear of it before the ledger has, nor the next task in quarantine begin.
      await this.completions.add(claim);
    }
    await faultPoint('worker.after-completion');
    return { kind: 'completed' };
  }

  /** Reads the payload and runs the handler inside the middleware, within the attempt's time. @throws whatever these do. */
  private async perform(attempt: Attempt, task: RegisteredTask): Promise<unknown> {
    const stop = limitTime(attempt, this.clock.now());
    try {
      let handled: Promise<unknown> | undefined;
      let payload: unknown;
      const handle = async () => {
        await faultPoint('worker.in-handler');
        return task.handler.handle(payload, attempt);
      };
      const handleOnce = (): Promise<unknown> => {
        if (handled) return rejected(new Error('a middleware called next() twice'));
        handled = handle();
        // Whoever has not waited for it is told below; a rejection that nobody takes would end the process.
        handled.catch(() => undefined);
        return handled;
      };
      const chain = this.middleware.reduceRight<() => Promise<unknown>>((next, layer) => async () => layer(attempt, next), handleOnce);
      return await runInTask(attempt, () =>
        attempt.untilInterrupted(async () => {
          payload = await readPayload(attempt.delivery, task);
          const result = await chain();
          // Done without its handler having run, a task would be lost.
          if (!handled) throw new Error('a middleware returned without calling next()');
          // Nor is it done when its handler has failed and the middleware has not waited for that.
          await handled;
          return result;
        }),
      );
    } finally {
      stop();
    }
  }

  /** Decides and records how an attempt ends that has thrown. @throws what the ledger throws. */
  private async conclude(attempt: Attempt, task: RegisteredTask, thrown: unknown): Promise<Outcome> {
    const { claim, interrupted } = attempt;
    if (attempt.completed) return { kind: 'completed', moot: `failed after it was done: ${describeError(thrown).message}` };
    // Only this attempt's own, for one that a handler has kept from another attempt says nothing about this one.
    if (thrown !== undefined && thrown === attempt.stale) return { kind: 'completed', moot: attempt.stale.message };
    if (isA(thrown, RevokeTask)) {
      await this.ledger.deleteCompleted([claim]);
      return { kind: 'completed', moot: `revoked: ${describeError(thrown).message}` };
    }
    if (isA(thrown, RetryIn)) {
      const delay = delayOf(thrown);
      if (delay !== undefined) {
        if (!isTooLate(attempt.delivery, this.clock.now() + delay)) return this.putOff(attempt, describeError(thrown).message, delay);
        const cause = new TaskTimeout('the handler put its task off until after the deadline');
        return this.fail(attempt, task, new Burial('deadline passed', cause, false));
      }
    }
    if (interrupted && thrown === interrupted) {
      if (interrupted.interruption === 'shutdown') return { kind: 'returned' };
      if (interrupted.interruption === 'lock lost') return { kind: 'lost' };
      if (interrupted.interruption === 'cancelled') return { kind: 'completed', moot: 'cancelled' };
      return this.fail(attempt, task, new TaskTimeout(`the attempt ran into its ${interrupted.interruption}`));
    }
    return this.fail(attempt, task, thrown);
  }

  /** Records an attempt that failed, and that the task is retried or buried. @throws what the ledger throws. */
  private async fail(attempt: Attempt, task: RegisteredTask, error: unknown): Promise<Outcome> {
    const { delivery, claim } = attempt;
    const delay = this.delayAfter(delivery, task, error);
    const reason = deathOf(error, delivery, this.clock.now() + delay);
    const failure = attempt.failedWith(describeError(isA(error, Burial) ? error.cause : error));
    attempt.ending = { failure, delay, reason };
    if (isA(error, Burial) && !error.isFailure) attempt.failures = delivery.failures;
    if (reason === undefined) {
      await this.ledger.recordFailure(claim, attempt.attempt, failure.error, delay);
      return { kind: 'retry', failure, delay };
    }
    return this.bury(attempt, { ...failure, reason }, task);
  }

  /** @param task undefined when no hook is to be called. @throws what the ledger throws. */
  private async bury(
    { delivery, claim, failures }: Attempt,
    failure: AttemptFailure & { reason: DeathReason },
    task: RegisteredTask | undefined,
  ): Promise<Outcome> {
    const { reason } = failure;
    const dead = { id: delivery.id, type: delivery.type, reason, error: failure.error.message };
    const handler = task?.handler;
    const hook = handler?.onDead && (async (manager: EntityManager) => handler.onDead!(delivery.payload, dead, manager));
    let buried: boolean;
    try {
      buried = await this.ledger.bury(claim, failures, reason, failure.error, hook);
    } catch (error) {
      if (!(error instanceof HookFailed)) throw error;
      // Nothing is left of it, and the task is buried all the same.
      this.report('the onDead hook failed', delivery, error.cause);
      buried = await this.ledger.bury(claim, failures, reason, failure.error);
    }
    return buried ? { kind: 'buried', failure } : { kind: 'completed', moot: 'the task is done or cancelled' };
  }

  /**
   * Ends a delivery whose end the ledger did not take. A database that is away is
   * waited for, at no cost to the task, and so is any other where no attempt has
   * been made, and one that cut the completion of a handler short. Else an
   * attempt that has failed counts: what cut its record short may be what the
   * handler itself does, and would be the same the next time. Words that the
   * ledger may have refused are replaced by some that can always be written.
   */
  private async endUnrecorded(attempt: Attempt, task: RegisteredTask | undefined, error: unknown): Promise<Outcome> {
    const { delivery, claim } = attempt;
    const wait = (cause: unknown): Outcome => {
      const reason = `the ledger could not be written: ${describeError(cause).message}`;
      return { kind: 'snooze', reason, delay: LEDGER_DELAY };
    };
    const wasCutShort = isCutShort(error);
    const { ending, progressed } = attempt;
    if (isDatabaseUnavailable(error) || (progressed === 'succeeded' && wasCutShort)) return wait(error);
    // A burial needs no attempt: a task that has crashed its workers is not given another.
    if (progressed === 'not begun' && !ending) return wait(error);
    this.report('the end of an attempt could not be recorded as it was', delivery, error);
    const { failure, delay, reason } = ending && wasCutShort ? ending : this.unrecordable(attempt);
    if (reason === undefined) {
      try {
        await this.ledger.recordFailure(claim, attempt.attempt, failure.error, delay);
      } catch (again) {
        if (isDatabaseUnavailable(again)) return wait(again);
        // The dispatcher counts it all the same.
        this.report('a failed attempt could not be recorded', delivery, again);
      }
      return { kind: 'retry', failure, delay };
    }
    let last: unknown;
    // The hook may be what the burial failed for; once that was cut short, there is no time for another of it.
    for (const withHook of wasCutShort ? [undefined] : [task, undefined]) {
      try {
        return await this.bury(attempt, { ...failure, reason }, withHook);
      } catch (again) {
        if (isDatabaseUnavailable(again)) return wait(again);
        last = again;
      }
    }
    this.report('a task could not be buried, and is tried again', delivery, last);
    return wait(last);
  }

  /** The result is the last thing, and no reason to say that the task is not done. */
  private async keepResult({ claim, delivery }: Attempt, result: unknown): Promise<void> {
    try {
      await this.ledger.keepResult(claim, result);
    } catch (error) {
      // The database went away after the effects were committed, or will not have it.
      this.report('the result of a task that is done could not be kept', delivery, error);
    }
  }

  /** How an attempt ends when the ledger has not taken its own end. */
  private unrecordable(attempt: Attempt): Ending {
    const { delivery, ending } = attempt;
    const failure = attempt.failedWith(describeError(new Error('the end of the attempt could not be recorded; the log says why')));
    const delay = defaultBackoff(delivery.failures);
    return { failure, delay, reason: ending?.reason ?? deathOf(undefined, delivery, this.clock.now() + delay) };
  }

  private putOffUnknown(attempt: Attempt): Promise<Outcome> {
    const { type } = attempt.delivery;
    this.sayOnce(
      type,
      `no handler for the task type "${type}": its tasks wait for a worker that has one. ` +
        "A handler is a provider that carries @Task, listed in the worker's module",
    );
    return this.putOff(attempt, `no handler for the task type "${type}" in this worker`, UNKNOWN_DELAY, true);
  }

  private putOffNewer(attempt: Attempt, { policy }: RegisteredTask): Promise<Outcome> {
    const reason = `the payload has version ${attempt.delivery.version}; this worker knows ${policy.version}`;
    this.sayOnce(`${policy.type} ${attempt.delivery.version}`, `"${policy.type}": ${reason}. Such tasks wait for a newer worker`);
    return this.putOff(attempt, reason, UNKNOWN_DELAY, true);
  }

  private async putOff({ claim }: Attempt, reason: string, delay: number, routine?: true): Promise<Outcome> {
    await this.ledger.recordSnooze(claim, reason, delay);
    return { kind: 'snooze', reason, delay, ...(routine && { routine }) };
  }

  /** How long until the next attempt; a rule that fails is no reason that there is none. */
  private delayAfter(delivery: Delivery, { policy }: RegisteredTask, error: unknown): number {
    try {
      return backoffDelay(delivery.options.backoff ?? policy.backoff, delivery.failures, error);
    } catch (thrown) {
      // A task's own rule may throw whatever it likes.
      this.sayOnce(
        `${policy.type} backoff`,
        `the backoff rule of "${policy.type}" failed, and the default one is used: ${describeError(thrown).message}`,
      );
      return defaultBackoff(delivery.failures);
    }
  }

  /** Says what is the same for many tasks, once in the life of this process. */
  private sayOnce(key: string, text: string): void {
    if (this.said.has(key) || this.said.size >= MAX_SAID) return;
    this.said.add(key);
    this.logger.warn(text);
  }

  private report(what: string, delivery: Delivery, thrown: unknown): void {
    this.logger.error({ err: describeError(thrown), taskId: delivery.id, taskType: delivery.type }, what);
  }
}

/** `instanceof` for whatever was thrown: the prototype of a proxy may throw. */
function isA<T>(thrown: unknown, type: abstract new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof type;
  } catch {
    // Such a proxy: it is none of ours.
    return false;
  }
}

/** The delay that a handler asked for, or undefined when it is none: then the attempt has failed. */
function delayOf(thrown: RetryIn): number | undefined {
  try {
    return milliseconds(thrown.delay, 'RetryIn');
  } catch {
    // Written over, or a getter that throws.
    return undefined;
  }
}

/** A rejection that is somebody's to take, and ends no process when nobody does. */
function rejected(error: Error): Promise<never> {
  const promise = Promise.reject<never>(error);
  promise.catch(() => undefined);
  return promise;
}

/**
 * Why a failed attempt is the last one, or undefined when another follows.
 *
 * @param next when that would be, in milliseconds since 1970.
 */
function deathOf(error: unknown, delivery: Delivery, next: number): DeathReason | undefined {
  if (isA(error, Burial)) return error.reason;
  if (isA(error, SkipRetry)) return 'retry skipped';
  if (delivery.failures >= delivery.options.maxRetry) return 'retries exhausted';
  return isTooLate(delivery, next) ? 'deadline passed' : undefined;
}

/** @param at milliseconds since 1970. */
function isTooLate({ options: { deadline } }: Delivery, at: number): boolean {
  return deadline !== undefined && at >= Date.parse(deadline);
}

/** @throws Burial for a payload that the task does not take. */
async function readPayload(delivery: Delivery, { policy }: RegisteredTask): Promise<unknown> {
  let { payload } = delivery;
  let result: z.ZodSafeParseResult<unknown>;
  try {
    if (delivery.version < policy.version && policy.upcast) payload = await policy.upcast(payload, delivery.version);
    result = await policy.payload.safeParseAsync(payload);
  } catch (thrown) {
    // An upcast, a refinement or a transform may throw whatever they like.
    throw new Burial('unreadable payload', thrown);
  }
  // Zod's text names the paths and what was expected, never the values.
  if (!result.success) throw new Burial('unreadable payload', new Error(z.prettifyError(result.error)));
  return result.data;
}

/** Interrupts at the timeout or the deadline, whichever comes first; returns what ends the watch. */
function limitTime(attempt: Attempt, now: number): () => void {
  const { timeout, deadline } = attempt.delivery.options;
  const left = deadline === undefined ? Number.POSITIVE_INFINITY : Date.parse(deadline) - now;
  if (left <= 0) throw new Burial('deadline passed', new TaskTimeout('the deadline passed before the attempt began'), false);
  const [limit, interruption] = left < timeout ? [left, 'deadline' as const] : [timeout, 'timeout' as const];
  // A timer holds at most 2³¹ - 1 ms; what is longer than that ends with the process.
  const timer = setTimeout(() => attempt.interrupt(interruption), Math.min(limit, 2 ** 31 - 1));
  return () => clearTimeout(timer);
}

class Attempt implements TaskContext {
  readonly id: string;
  readonly type: string;
  readonly queue: string;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly requestId: string | undefined;
  /** Its effects and its completion are committed. */
  completed = false;
  /** What {@link transaction} was refused with. */
  stale: StaleAttempt | undefined;
  interrupted: Interrupted | undefined;
  /** How far the payload's schema, the middleware and the handler have come. */
  progressed: 'not begun' | 'begun' | 'succeeded' = 'not begun';
  /** How often the task has failed, if this attempt fails. */
  failures: number;
  /** How it was to end, when it has failed. */
  ending: Ending | undefined;
  private isInTransaction = false;
  private onInterrupt: ((interrupted: Interrupted) => void) | undefined;
  private controller: AbortController | undefined;

  constructor(
    readonly delivery: Delivery,
    readonly claim: Claim,
    private readonly ledger: Ledger,
    /** Milliseconds since 1970, by the database's clock. */
    readonly since: number,
  ) {
    this.id = delivery.id;
    this.type = delivery.type;
    this.queue = delivery.queue;
    this.attempt = delivery.failures + 1;
    this.failures = this.attempt;
    this.maxAttempts = delivery.options.maxRetry + 1;
    this.requestId = delivery.requestId;
  }

  failedWith(error: ErrorDescription): AttemptFailure {
    return { attempt: this.attempt, maxAttempts: this.maxAttempts, error };
  }

  get createdAt(): Date {
    return new Date(this.delivery.createdAt);
  }

  /** Made when it is first asked for: most handlers never do, and it is the dearest part of an attempt. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.interrupted) this.controller.abort(this.interrupted);
    return this.controller.signal;
  }

  /** Tells the attempt to stop; the first reason stands. */
  interrupt(interruption: Interruption): void {
    if (this.interrupted) return;
    this.interrupted = new Interrupted(interruption);
    this.controller?.abort(this.interrupted);
    this.onInterrupt?.(this.interrupted);
  }

  /**
   * Settles with the handler, or rejects as soon as the attempt is interrupted: a
   * handler that does not listen is left behind.
   *
   * A lost lock alone is no reason to throw away what the handler has done: it is
   * told, and may still end. The fence decides whether that counts, and when it
   * does, the delivery that comes after finds nothing to do.
   */
  untilInterrupted(work: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let grace: NodeJS.Timeout | undefined;
      this.onInterrupt = (interrupted) => {
        if (interrupted.interruption === 'lock lost') grace = setTimeout(reject, LOST_LOCK_GRACE, interrupted);
        else reject(interrupted);
      };
      if (this.interrupted) this.onInterrupt(this.interrupted);
      work().then(
        (result) => {
          clearTimeout(grace);
          resolve(result);
        },
        (error: unknown) => {
          clearTimeout(grace);
          // A handler that passed the signal on fails with an AbortError of its own: the reason is the truth.
          reject(this.interrupted ?? error);
        },
      );
    });
  }

  async transaction<T>(work: Parameters<TaskContext['transaction']>[0]): Promise<T> {
    this.throwIfInterrupted();
    // The second of them would find the task done, and what the other did undone or kept, as it happens.
    if (this.completed || this.isInTransaction) {
      throw new Error('task.transaction was called twice in one attempt: it completes the task, so all effects belong in one');
    }
    this.isInTransaction = true;
    try {
      const result = await this.ledger.completeWith(this.claim, this.delivery.keep, async (manager) => {
        const value = await work(manager);
        this.throwIfInterrupted();
        return value as T;
      });
      this.completed = true;
      await faultPoint('effect.after-commit');
      return result;
    } catch (error) {
      if (isA(error, StaleAttempt)) this.stale = error;
      throw error;
    } finally {
      this.isInTransaction = false;
    }
  }

  async progress(value: unknown): Promise<void> {
    await this.ledger.recordProgress(this.claim, value);
  }

  private throwIfInterrupted(): void {
    if (this.interrupted) throw this.interrupted;
  }
}
