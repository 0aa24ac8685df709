/** In how many parts a limit is counted, and how late one of them has to be not to count, in milliseconds. */
const PARTS = 10;
const LATE = 100;

/**
 * Limits how long something is waited for that comes through a socket. The time
 * for which the process stood still is not counted, or it would be held against
 * whoever has answered long ago: when an event loop was blocked, timers come before
 * the sockets are read. A process that stands still again and again waits for twice
 * as many parts, and no longer.
 *
 * @param milliseconds none, when it may take for ever.
 * @param over called once, when the limit is over.
 * @returns what ends the wait.
 */
export function limit(milliseconds: number | undefined, over: () => void): () => void {
  if (milliseconds === undefined) return () => undefined;
  const part = milliseconds / PARTS;
  let timer: NodeJS.Timeout;
  const wait = (parts: number, counted: number) => {
    const due = performance.now() + part;
    timer = setTimeout(() => {
      const isCounted = performance.now() - due <= LATE;
      if (parts + 1 === 2 * PARTS || (isCounted && counted + 1 === PARTS)) over();
      else wait(parts + 1, isCounted ? counted + 1 : counted);
    }, part).unref();
  };
  wait(0, 0);
  return () => clearTimeout(timer);
}
