import { setTimeout as wait } from 'node:timers/promises';

/** Milliseconds. */
const DISPATCHER_DEADLINE = 5_000;

/**
 * What the dispatcher answers. Rejects when that takes too long: some of BullMQ's
 * calls wait without end for one that is away. The call itself goes on.
 */
export async function answered<T>(call: Promise<T>, deadline = DISPATCHER_DEADLINE): Promise<T> {
  const timer = new AbortController();
  // What comes after the deadline is nobody's any more, and must not be an unhandled rejection.
  call.catch(() => undefined);
  try {
    return await Promise.race([
      call,
      wait(deadline, undefined, { signal: timer.signal }).then(() => {
        throw new Error(`the dispatcher did not answer within ${deadline} ms`);
      }),
    ]);
  } finally {
    timer.abort();
  }
}
