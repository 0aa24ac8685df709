/** How late a timer has to be before its process is taken to have stood still, in milliseconds. */
const LATE = 100;

/**
 * Limits how long something is waited for that comes through a socket. The time
 * for which the process stood still is not counted: when an event loop was blocked,
 * timers come before the sockets are read, and what is waited for may long be there.
 *
 * @param milliseconds none, when it may take for ever.
 * @param over called once, when the limit is over.
 * @returns what ends the wait.
 */
export function limit(milliseconds: number | undefined, over: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let afterReading: NodeJS.Immediate | undefined;
  const wait = (time: number) => {
    const due = performance.now() + time;
    timer = setTimeout(() => {
      const late = performance.now() - due;
      if (late > LATE) wait(late);
      // An immediate runs when the loop has read what its sockets have.
      else afterReading = setImmediate(over);
    }, time).unref();
  };
  if (milliseconds !== undefined) wait(milliseconds);
  return () => {
    clearTimeout(timer);
    clearImmediate(afterReading);
  };
}
