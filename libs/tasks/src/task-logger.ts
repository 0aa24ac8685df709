import { Injectable, Logger } from '@nestjs/common';
import type { QueueWeights } from '@app/config';
import type { Delivery } from './job.js';

const REMINDER_INTERVAL = 60_000;

/**
 * The engine's voice: what the processor, the relay and BullMQ have to say, as
 * lines of the Nest logger. A lost connection is told once and not once a second.
 */
@Injectable()
export class TaskLogger {
  private readonly logger = new Logger('TaskProcessor');
  /** When the trouble of each source was last reported; absent while it is well. */
  private readonly troubles = new Map<string, number>();

  started(weights: QueueWeights, slots: number, types: string[], dispatcher: string): void {
    const queues = Object.fromEntries(weights.queues.map((queue) => [queue.name, queue.weight]));
    this.logger.log({ queues, strict: weights.strict, slots, types, dispatcher }, 'task processor started');
  }

  stopping(running: number): void {
    this.logger.log({ running }, 'task processor is stopping');
  }

  stopped(): void {
    this.logger.log('task processor stopped');
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

  redispatched(queue: string, count: number): void {
    this.logger.warn({ queue, count }, 'the dispatcher has lost tasks; they are dispatched anew');
  }

  failed(what: string, err: unknown): void {
    this.logger.error({ err }, what);
  }

  /** Something outside does not answer, or not well; it is tried again. Told once, and then once a minute. */
  trouble(source: string, err: unknown): void {
    const reportedAt = this.troubles.get(source);
    if (reportedAt !== undefined && Date.now() - reportedAt < REMINDER_INTERVAL) return;
    this.troubles.set(source, Date.now());
    const what = isConnectionError(err) ? 'connection lost' : 'failed, and tries again';
    this.logger.warn({ source, err }, reportedAt === undefined ? what : `still: ${what}`);
  }

  /** The trouble is over. @returns whether there had been any. */
  well(source: string): boolean {
    if (!this.troubles.delete(source)) return false;
    this.logger.log({ source }, 'connection regained');
    return true;
  }
}

const CONNECTION_ERROR = /ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EHOSTUNREACH|connection|socket|timeout|did not answer|Stream isn't writeable/i;

function isConnectionError(err: unknown): boolean {
  return err instanceof Error && CONNECTION_ERROR.test(`${'code' in err ? String(err.code) : ''} ${err.message}`);
}

function identity(delivery: Delivery) {
  return { taskId: delivery.id, taskType: delivery.type, queue: delivery.queue, requestId: delivery.requestId };
}
