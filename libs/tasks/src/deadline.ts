import { setTimeout as wait } from 'node:timers/promises';

/** Rejects with `message` when `work` takes longer than `deadline` milliseconds. The work itself goes on. */
export async function withDeadline<T>(work: Promise<T>, deadline: number, message: string): Promise<T> {
  const timer = new AbortController();
  // What comes after the deadline is nobody's any more, and must not be an unhandled rejection.
  work.catch(() => undefined);
  try {
    return await Promise.race([
      work,
      wait(deadline, undefined, { signal: timer.signal }).then(() => {
        throw new Error(`${message} within ${deadline} ms`);
      }),
    ]);
  } finally {
    timer.abort();
  }
}
