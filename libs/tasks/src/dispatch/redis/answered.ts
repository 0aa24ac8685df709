/** Milliseconds. */
const DISPATCHER_DEADLINE = 5_000;

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
