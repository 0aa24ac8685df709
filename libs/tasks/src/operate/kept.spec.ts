import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Kept } from './kept.js';

describe('an answer that is kept', () => {
  it('is found once for all who ask meanwhile, and for those after them', async () => {
    let asked = 0;
    const kept = new Kept(async () => {
      asked += 1;
      await wait(20);
      return asked;
    });
    expect(await Promise.all([kept.get(), kept.get()])).toEqual([1, 1]);
    expect(await kept.get()).toBe(1);
    kept.forget();
    expect(await kept.get()).toBe(2);
  });

  it('is not one that failed', async () => {
    let asked = 0;
    const kept = new Kept(async () => {
      asked += 1;
      if (asked === 1) throw new Error('away');
      return asked;
    });
    await expect(kept.get()).rejects.toThrow('away');
    expect(await kept.get()).toBe(2);
  });

  it('is not one that was asked for before somebody has changed what it says', async () => {
    let value = 'old';
    const gate = Promise.withResolvers<void>();
    const kept = new Kept(async () => {
      const seen = value;
      await gate.promise;
      return seen;
    });
    const before = kept.get();
    value = 'new';
    kept.forget();
    const after = kept.get();
    gate.resolve();
    expect(await Promise.all([before, after])).toEqual(['old', 'new']);
    expect(await kept.get()).toBe('new');
  });
});
