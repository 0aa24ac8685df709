import { afterEach, expect, it } from 'vitest';
import { limit } from './limit.js';

/** Stops the whole process for so many milliseconds, as a handler does that computes. */
const standStill = (milliseconds: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

const busy: NodeJS.Timeout[] = [];
afterEach(() => busy.splice(0).forEach(clearInterval));

/** When a limit that begins now is over. */
async function endOf(milliseconds: number, meanwhile: () => void): Promise<number> {
  const startedAt = performance.now();
  const over = new Promise<void>((resolve) => limit(milliseconds, resolve));
  // A limit does not keep a process alive by itself.
  busy.push(setInterval(() => undefined, 1_000));
  meanwhile();
  await over;
  return performance.now() - startedAt;
}

it('is over after its time', async () => {
  expect(await endOf(300, () => undefined)).toBeGreaterThanOrEqual(290);
});

it('does not count the time for which the process stood still', async () => {
  expect(await endOf(300, () => standStill(800))).toBeGreaterThanOrEqual(1_090);
});

it('is over all the same in a process that stands still again and again', async () => {
  const took = await endOf(300, () => busy.push(setInterval(() => standStill(150), 1)));
  expect(took).toBeGreaterThanOrEqual(600);
  expect(took).toBeLessThan(30_000);
});

it('is never over once it was ended, or without a time', async () => {
  const over: string[] = [];
  limit(50, () => over.push('ended'))();
  limit(undefined, () => over.push('without'));
  await endOf(100, () => undefined);
  expect(over).toEqual([]);
});
