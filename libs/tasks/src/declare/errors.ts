import { type Duration, milliseconds } from './duration.js';

/** Thrown by a handler: trying again cannot help, bury the task at once. */
export class SkipRetry extends Error {
  override readonly name = 'SkipRetry';
}

/** Thrown by a handler: the task is no longer wanted; drop it, without burying it. */
export class RevokeTask extends Error {
  override readonly name = 'RevokeTask';
}

/** Thrown by a handler: not yet; run the task again after a while, at no cost to its retries. */
export class RetryIn extends Error {
  override readonly name = 'RetryIn';
  /** Milliseconds until the next run. */
  readonly delay: number;

  constructor(delay: Duration, reason = 'the task asked to be run later') {
    super(reason);
    this.delay = milliseconds(delay, 'RetryIn');
  }
}

/** An attempt took longer than its `timeout`, or ran into its task's `deadline`. */
export class TaskTimeout extends Error {
  override readonly name = 'TaskTimeout';
}

/**
 * This attempt no longer owns its task: the task is done, was cancelled, or
 * another attempt has begun since. Nothing that it does may be kept.
 */
export class StaleAttempt extends Error {
  override readonly name = 'StaleAttempt';
}

/** An `onDead` hook failed, and the burial with it; `cause` is what it threw. Within the engine. */
export class HookFailed extends Error {
  override readonly name = 'HookFailed';

  constructor(cause: unknown) {
    super('the onDead hook failed', { cause });
  }
}

/** A task cannot be distributed as asked; nothing was written. */
export class InvalidTask extends Error {
  override readonly name = 'InvalidTask';
}

/** A dead task cannot be brought back, because another task has its unique key. */
export class UniqueKeyTaken extends InvalidTask {}
