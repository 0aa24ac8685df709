import { Injectable, Logger } from '@nestjs/common';
import type { QueueWeights } from './options.js';
import { isDatabaseUnavailable } from '@app/postgres';
import { InvalidTask } from './declare/errors.js';
import type { Delivery } from './dispatch/delivery.js';
import { traceIdOf } from './telemetry/trace-context.js';

const REMINDER_INTERVAL = 60_000;

/** How long nothing may have been refused until what was is taken to be over: longer than between two searches for stalled jobs. Milliseconds. */
const QUIET = 15_000;

interface Trouble {
  reportedAt: number;
  /** The kinds of errors that were told and are not over. */
  told: Set<string>;
  /** When something was refused last. */
  refusedAt: number;
}

/**
 * The engine's voice: what the processor, the relay and BullMQ have to say, as
 * lines of the Nest logger. A lost connection is told once and not once a second.
 */
@Injectable()
export class TaskLogger {
  private readonly logger = new Logger('TaskProcessor');
  /** When it was said last that this machine's clock is off; undefined while it is right. */
  private clockToldAt: number | undefined;
  /** By source; absent while it is well. */
  private readonly troubles = new Map<string, Trouble>();

  started(weights: QueueWeights, slots: number, types: string[], dispatcher: string): void {
    const queues = Object.fromEntries(weights.queues.map((queue) => [queue.name, queue.weight]));
    this.logger.log({ queues, strict: weights.strict, slots, types, dispatcher }, 'task processor started');
  }

  stopping(running: number): void {
    this.logger.log({ running }, 'task processor is stopping');
  }

  /** @param left how many tasks neither ended nor could be given back. */
  stopped(left: number): void {
    if (left > 0) this.logger.error({ left }, 'task processor stopped, and left running tasks behind');
    else this.logger.log('task processor stopped');
  }

  /** One of the engine's loops, which waits for something that does not answer. Nothing is lost with it. */
  leftBehind(loop: string): void {
    this.logger.warn({ source: loop }, 'did not end in time, and is left behind');
  }

  completed(delivery: Delivery, attempt: number, durationMs: number, moot: string | undefined): void {
    this.logger.log({ ...identity(delivery), attempt, durationMs, ...(moot !== undefined && { moot }) }, 'task completed');
  }

  snoozed(delivery: Delivery, reason: string, delay: number): void {
    this.logger.warn({ ...identity(delivery), reason, runAt: new Date(Date.now() + delay).toISOString() }, 'task put off');
  }

  stalled(queue: string, taskId: string): void {
    this.logger.warn({ queue, taskId }, 'a worker was lost while it ran this task; it runs again');
  }

  /** Another worker process. */
  lost(worker: { id: number; host: string; pid: number }): void {
    this.logger.warn({ worker }, 'a worker was lost; what it had claimed runs again');
  }

  /** This process. */
  takenForDead(): void {
    this.logger.warn('this worker was taken for dead; what it had claimed is run by others');
  }

  /**
   * Said once, and then once a minute.
   *
   * @param skew how far ahead of the database's it is, in milliseconds. @param takesNone whether this worker takes no tasks for it.
   */
  clockIsOff(skew: number, takesNone: boolean): void {
    if (this.clockToldAt !== undefined && performance.now() - this.clockToldAt < REMINDER_INTERVAL) return;
    this.clockToldAt = performance.now();
    const what = `the clock of this machine is ${Math.abs(skew / 1_000).toFixed(1)} s ${skew > 0 ? 'ahead of' : 'behind'} the database's`;
    if (takesNone) this.logger.error({ skewMs: skew }, `${what}: this worker takes no tasks until it is right`);
    else this.logger.warn({ skewMs: skew }, `${what}; tasks go by the database's`);
  }

  clockIsRight(skew: number): void {
    if (this.clockToldAt === undefined) return;
    this.clockToldAt = undefined;
    this.logger.log({ skewMs: skew }, 'the clock of this machine is right again');
  }

  /** @param served the queues that this worker and its like serve. */
  unserved(queue: string, served: readonly string[]): void {
    this.logger.warn(
      { queue, served },
      'tasks of a queue that this worker does not serve have waited for over a minute: give the queue a weight, or move, cancel or delete them',
    );
  }

  takenOver(count: number): void {
    this.logger.log({ count }, 'tasks of the last dispatcher are handed out by the ledger from now on');
  }

  redispatched(queue: string, count: number): void {
    this.logger.warn({ queue, count }, 'the dispatcher has lost tasks; they are dispatched anew');
  }

  takenBack(queue: string, count: number): void {
    this.logger.warn({ queue, count }, 'the dispatcher is full; tasks that waited in it go back to the ledger');
  }

  failed(what: string, err: unknown): void {
    this.logger.error({ err }, what);
  }

  /** Something outside does not answer, or not well; it is tried again. Each kind of error is told once, and then once a minute. */
  trouble(source: string, err: unknown): void {
    const at = Date.now();
    const kind = kindOf(err);
    const known = this.troubles.get(source);
    const isDue = known === undefined || at - known.reportedAt >= REMINDER_INTERVAL;
    const trouble = isDue ? { reportedAt: at, told: new Set<string>(), refusedAt: 0 } : known;
    this.troubles.set(source, trouble);
    if (kind !== LOST) trouble.refusedAt = at;
    if (trouble.told.has(kind)) return;
    trouble.told.add(kind);
    const what = kind === LOST ? 'connection lost' : 'failed, and tries again';
    this.logger.warn({ source, err }, known && isDue ? `still: ${what}` : what);
  }

  /**
   * The source has answered: a lost connection is there again. It says less of what
   * was refused, since a Redis that is full, for one, still answers what only reads:
   * that is over when nothing has been refused for a while.
   *
   * @returns whether there is a connection again where there was none.
   */
  well(source: string): boolean {
    const trouble = this.troubles.get(source);
    if (!trouble) return false;
    const isRegained = trouble.told.delete(LOST);
    if (isRegained) this.logger.log({ source }, 'connection regained');
    if (trouble.told.size === 0) this.troubles.delete(source);
    else if (Date.now() - trouble.refusedAt >= QUIET) {
      this.troubles.delete(source);
      this.logger.log({ source }, 'works again');
    }
    return isRegained;
  }
}

/** The kind of an error that says that there is no connection of use. */
const LOST = 'lost';

/** Among them what a Redis says that cannot be worked with at all: another one may stand in its place, or it may come back with less. */
const CONNECTION_ERROR =
  /ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EHOSTUNREACH|connection|socket|timeout|did not answer|Stream isn't writeable|NOAUTH|WRONGPASS|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|UNBLOCKED|max number of clients/i;

/** SQLSTATE, where a server has answered; its words may name connections and timeouts all the same. */
const SQLSTATE = /^\d[0-9A-Z]{4}$/;

/** A lost connection, what Postgres says by its code, or the word that Redis begins an answer with which says no, such as OOM. */
function kindOf(err: unknown): string {
  if (!(err instanceof Error) || err instanceof InvalidTask) return 'other';
  if ('code' in err && SQLSTATE.test(String(err.code))) return isDatabaseUnavailable(err) ? LOST : String(err.code);
  if (CONNECTION_ERROR.test(`${'code' in err ? String(err.code) : ''} ${err.message}`)) return LOST;
  return /^[A-Z]{3,}\b/.exec(err.message)?.[0] ?? 'other';
}

function identity(delivery: Delivery) {
  const traceId = traceIdOf(delivery.options.trace);
  return {
    taskId: delivery.id,
    taskType: delivery.type,
    queue: delivery.queue,
    requestId: delivery.requestId,
    ...(traceId !== undefined && { trace_id: traceId }),
  };
}
