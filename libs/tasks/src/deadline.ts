/** Milliseconds. */
const DISPATCHER_DEADLINE = 5_000;

/** How long the end of a connection is waited for when the process ends. Milliseconds. */
export const CLOSE_TIMEOUT = 2_000;

/** The dispatcher did not answer in time: it is away, or not well. */
export class DispatcherUnavailable extends Error {
  override readonly name = 'DispatcherUnavailable';
}

/**
 * What the dispatcher answers. Rejects when that takes too long: some of BullMQ's
 * calls wait without end for one that is away. The call itself goes on.
 */
export function answered<T>(call: Promise<T>, deadline = DISPATCHER_DEADLINE): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DispatcherUnavailable(`the dispatcher did not answer within ${deadline} ms`)), deadline);
    call.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Whether the work has come to an end, well or not, within so many milliseconds. It goes on if it has not. */
export async function endsWithin(milliseconds: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const ended = work.then(
    () => true,
    () => true,
  );
  return Promise.race([ended, late]).finally(() => clearTimeout(timer));
}
