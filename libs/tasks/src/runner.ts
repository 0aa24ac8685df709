import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import { describeError, scrub } from '@app/redaction';
import { z } from 'zod';
import { backoffDelay } from './backoff.js';
import { Completions } from './completions.js';
import { RetryIn, RevokeTask, SkipRetry, StaleAttempt, TaskTimeout } from './errors.js';
import type { AttemptFailure, Delivery, Outcome } from './job.js';
import { type Claim, Ledger } from './ledger.js';
import { type RegisteredTask, TaskRegistry } from './registry.js';
import type { DeathReason, TaskContext } from './task.js';
import { runInTask } from './task-scope.js';

/** How often a task may take its worker down before it is buried as poison. */
export const CRASH_BUDGET = 3;

/** How long a payload of a newer version waits for a worker that knows it. Milliseconds. */
const NEWER_VERSION_DELAY = 60_000;

/** How long a handler may take to end once its lock is lost. Milliseconds. */
const LOST_LOCK_GRACE = 10_000;

/** Runs around every handler, outermost first; it must call `next` and return what that returns. */
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

/** The end of an attempt that buries its task. */
class Burial extends Error {
  constructor(
    readonly reason: DeathReason,
    override readonly cause: unknown,
  ) {
    super(reason);
  }
}

/** Runs one delivery of a task from its payload to its outcome. It knows the ledger and the handlers, and no dispatcher. */
@Injectable()
export class TaskRunner {
  private readonly logger = new Logger('TaskRunner');
  private readonly running = new Map<string, Attempt>();

  constructor(
    private readonly registry: TaskRegistry,
    private readonly ledger: Ledger,
    private readonly completions: Completions,
    @Optional() @Inject(TASK_MIDDLEWARE) private readonly middleware: readonly TaskMiddleware[] = [],
  ) {}

  /** Runs a delivery. It never rejects: whatever is thrown inside becomes an outcome. */
  async run(delivery: Delivery): Promise<Outcome> {
    const claim: Claim = { id: delivery.id, generation: delivery.generation, delivery: delivery.number };
    const task = this.registry.find(delivery.type);
    const attempt = new Attempt(delivery, claim, this.ledger);
    this.running.set(delivery.id, attempt);
    try {
      if (delivery.number > 1 || delivery.crashes > 0) {
        const crashes = await this.ledger.begin(claim, delivery.crashes);
        if (crashes === undefined) return { kind: 'completed', moot: 'the task is done or cancelled' };
        if (crashes > CRASH_BUDGET)
          throw new Burial('crashed its worker', new Error(`its worker was lost ${crashes} times while running it`));
      }
      return await this.attempt(attempt, task);
    } catch (thrown) {
      try {
        return await this.fail(attempt, task, thrown);
      } catch (ledgerError) {
        // The ledger cannot be told now. The delivery is repeated until it can.
        return { kind: 'snooze', reason: `the ledger could not be written: ${describeError(ledgerError).message}`, delay: 5_000 };
      }
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

  interruptAll(interruption: Interruption): void {
    for (const attempt of this.running.values()) attempt.interrupt(interruption);
  }

  private async attempt(attempt: Attempt, task: RegisteredTask | undefined): Promise<Outcome> {
    const { delivery, claim } = attempt;
    if (!task) {
      throw new Error(
        `no handler for the task type "${delivery.type}": a handler is a provider with @Task(), listed in the worker's module; or is this worker older than the api?`,
      );
    }
    const { policy, handler } = task;
    if (delivery.version > policy.version) {
      throw new RetryIn(NEWER_VERSION_DELAY, `the payload has version ${delivery.version}; this worker knows ${policy.version}`);
    }
    const payload = readPayload(delivery, task);
    const stop = limitTime(attempt);
    try {
      const chain = this.middleware.reduceRight<() => Promise<unknown>>(
        (next, layer) => () => layer(attempt, next),
        async () => {
          await faultPoint('worker.in-handler');
          return handler.handle(payload, attempt);
        },
      );
      const result = await runInTask(attempt, () => attempt.untilInterrupted(chain()));
      await faultPoint('worker.before-completion');
      if (!attempt.completed) {
        if (delivery.keep) await this.ledger.keepCompleted(claim, result);
        else await this.completions.add(claim);
      }
      await faultPoint('worker.after-completion');
      return { kind: 'completed' };
    } finally {
      stop();
    }
  }

  private async fail(attempt: Attempt, task: RegisteredTask | undefined, thrown: unknown): Promise<Outcome> {
    const { delivery, claim } = attempt;
    if (attempt.completed) return { kind: 'completed', moot: `failed after it was done: ${describeError(thrown).message}` };
    if (thrown instanceof StaleAttempt) return { kind: 'completed', moot: thrown.message };
    if (thrown instanceof RevokeTask) {
      await this.ledger.deleteCompleted([claim]);
      return { kind: 'completed', moot: `revoked: ${scrub(thrown.message)}` };
    }
    if (thrown instanceof RetryIn) {
      const reason = scrub(thrown.message);
      await this.ledger.recordSnooze(claim, reason, thrown.delay);
      return { kind: 'snooze', reason, delay: thrown.delay };
    }
    if (thrown instanceof Interrupted) {
      if (thrown.interruption === 'shutdown') return { kind: 'returned' };
      if (thrown.interruption === 'lock lost') return { kind: 'lost' };
      if (thrown.interruption === 'cancelled') return { kind: 'completed', moot: 'cancelled' };
    }
    const error = thrown instanceof Interrupted ? new TaskTimeout(`the attempt ran into its ${thrown.interruption}`) : thrown;
    const failure: AttemptFailure = { attempt: attempt.attempt, maxAttempts: attempt.maxAttempts, error };
    const delay = backoffDelay(delivery.options.backoff ?? task?.policy.backoff, delivery.failures, error);
    const reason = deathOf(error, delivery, delay);
    if (reason === undefined) {
      await this.ledger.recordFailure(claim, attempt.attempt, describeError(error).message, delay);
      return { kind: 'retry', failure, delay };
    }
    const cause = error instanceof Burial ? error.cause : error;
    const message = describeError(cause).message;
    const dead = { id: delivery.id, type: delivery.type, reason, error: message };
    const buried = await this.ledger.bury(claim, attempt.attempt, reason, message, async (manager) => {
      try {
        // A savepoint: a hook that fails leaves nothing behind, and the task is buried all the same.
        await manager.transaction(async (inner) => task?.handler.onDead?.(delivery.payload, dead, inner));
      } catch (err) {
        this.logger.error({ err, taskId: delivery.id, taskType: delivery.type }, 'the onDead hook failed');
      }
    });
    if (!buried) return { kind: 'completed', moot: 'the task is done or cancelled' };
    return { kind: 'buried', failure: { ...failure, error: cause, reason } };
  }
}

/** Why a failed attempt is the last one, or undefined when another follows. */
function deathOf(error: unknown, delivery: Delivery, delay: number): DeathReason | undefined {
  if (error instanceof Burial) return error.reason;
  if (error instanceof SkipRetry) return 'retry skipped';
  if (delivery.failures >= delivery.options.maxRetry) return 'retries exhausted';
  const { deadline } = delivery.options;
  if (deadline !== undefined && Date.now() + delay >= Date.parse(deadline)) return 'deadline passed';
  return undefined;
}

function readPayload(delivery: Delivery, { policy }: RegisteredTask): unknown {
  let { payload } = delivery;
  try {
    if (delivery.version < policy.version && policy.upcast) payload = policy.upcast(payload, delivery.version);
  } catch (error) {
    throw new Burial('unreadable payload', error);
  }
  const result = policy.payload.safeParse(payload);
  // Zod's text names the paths and what was expected, never the values.
  if (!result.success) throw new Burial('unreadable payload', new Error(z.prettifyError(result.error)));
  return result.data;
}

/** Interrupts at the timeout or the deadline, whichever comes first; returns what ends the watch. */
function limitTime(attempt: Attempt): () => void {
  const { timeout, deadline } = attempt.delivery.options;
  const left = deadline === undefined ? Number.POSITIVE_INFINITY : Date.parse(deadline) - Date.now();
  if (left <= 0) throw new Burial('deadline passed', new TaskTimeout('the deadline passed before the attempt began'));
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
  completed = false;
  private interrupted: Interrupted | undefined;
  private onInterrupt: ((interrupted: Interrupted) => void) | undefined;
  private controller: AbortController | undefined;

  constructor(
    readonly delivery: Delivery,
    readonly claim: Claim,
    private readonly ledger: Ledger,
  ) {
    this.id = delivery.id;
    this.type = delivery.type;
    this.queue = delivery.queue;
    this.attempt = delivery.failures + 1;
    this.maxAttempts = delivery.options.maxRetry + 1;
    this.requestId = delivery.requestId;
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
  untilInterrupted(work: Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let grace: NodeJS.Timeout | undefined;
      this.onInterrupt = (interrupted) => {
        if (interrupted.interruption === 'lock lost') grace = setTimeout(reject, LOST_LOCK_GRACE, interrupted);
        else reject(interrupted);
      };
      if (this.interrupted) this.onInterrupt(this.interrupted);
      work.then(
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
    const result = await this.ledger.completeWith(this.claim, this.delivery.keep, async (manager) => {
      const value = await work(manager);
      this.throwIfInterrupted();
      return value as T;
    });
    this.completed = true;
    await faultPoint('effect.after-commit');
    return result;
  }

  async progress(value: unknown): Promise<void> {
    await this.ledger.recordProgress(this.claim, value);
  }

  private throwIfInterrupted(): void {
    if (this.interrupted) throw this.interrupted;
  }
}
