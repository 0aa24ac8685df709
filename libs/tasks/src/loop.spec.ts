import { afterEach, expect, it, vi } from 'vitest';
import { Loop } from './loop.js';

afterEach(() => vi.useRealTimers());

it('knows for how long a run has gone on, and that none does between two runs', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout'] });
  const { promise, resolve } = Promise.withResolvers<void>();
  const loop = new Loop(
    () => promise,
    1_000,
    () => undefined,
  );
  expect(loop.runsFor).toBe(0);
  loop.start();
  vi.advanceTimersByTime(61_000);
  expect(loop.runsFor).toBe(61_000);
  resolve();
  await vi.advanceTimersByTimeAsync(0);
  expect(loop.runsFor).toBe(0);
  await loop.stop();
});
