import { Injectable, Logger } from '@nestjs/common';
import type { AttemptFailure, Delivery } from '../dispatch/delivery.js';

/** Reports every attempt that failed: one line, with what an operator needs and nothing of the payload. */
@Injectable()
export class FailedTaskListener {
  private readonly logger = new Logger('FailedTaskListener');

  /** @param delay milliseconds until the next attempt; undefined when there is none and the task is buried. */
  onFailed(delivery: Delivery, failure: AttemptFailure, delay: number | undefined): void {
    const fields = {
      taskId: delivery.id,
      taskType: delivery.type,
      queue: delivery.queue,
      requestId: delivery.requestId,
      attempt: failure.attempt,
      maxAttempts: failure.maxAttempts,
      err: failure.error,
    };
    if (delay === undefined) {
      this.logger.error({ ...fields, willRetry: false, reason: failure.reason }, 'task buried');
    } else {
      this.logger.warn({ ...fields, willRetry: true, retryAt: new Date(Date.now() + delay).toISOString() }, 'task attempt failed');
    }
  }
}
