import { setTimeout as wait } from 'node:timers/promises';

/** Waits until the condition holds and returns what it found. @throws when it does not within `within` milliseconds. */
export async function eventually<T>(
  condition: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  within = 30_000,
): Promise<T> {
  const deadline = Date.now() + within;
  let lastError: unknown;
  for (;;) {
    try {
      const found = await condition();
      if (found) return found;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${condition.toString()}`, { cause: lastError });
    await wait(20);
  }
}
