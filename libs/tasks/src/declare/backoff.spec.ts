import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffDelay, defaultBackoff } from './backoff.js';

describe('backoff', () => {
  it('is asynq’s n⁴ + 15 + rand(30)·(n + 1) seconds, at most a day', () => {
    expect(defaultBackoff(0, () => 0)).toBe(15_000);
    expect(defaultBackoff(3, () => 0.5)).toBe((81 + 15 + 15 * 4) * 1_000);
    fc.assert(
      fc.property(fc.nat(1_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (retry, random) => {
        const delay = defaultBackoff(retry, () => random);
        expect(delay).toBeLessThanOrEqual(24 * 3_600_000);
        expect(delay).toBeGreaterThanOrEqual(Math.min((retry ** 4 + 15) * 1_000, 24 * 3_600_000));
      }),
    );
  });

  it('follows the rule it is given', () => {
    expect(backoffDelay({ type: 'fixed', delay: '5s' }, 7, undefined)).toBe(5_000);
    expect(backoffDelay({ type: 'exponential', delay: 100, max: '1s' }, 2, undefined)).toBe(400);
    expect(backoffDelay({ type: 'exponential', delay: 100, max: '1s' }, 60, undefined)).toBe(1_000);
    expect(backoffDelay((retry) => retry * 10, 3, undefined)).toBe(30);
    expect(backoffDelay({ type: 'exponential', delay: 0 }, 10_000, undefined)).toBe(0);
    expect(backoffDelay({ type: 'exponential', delay: 1 }, 10_000, undefined)).toBe(24 * 3_600_000);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1, '5', null, undefined, 5n, {}, Promise.resolve(5)])(
    'refuses a rule that gives %s',
    (delay) => {
      expect(() => backoffDelay(() => delay as number, 0, undefined)).toThrow(RangeError);
    },
  );

  it.each([{ type: 'linear', delay: 1 }, { type: 'fixed' }, { type: 'fixed', delay: '' }, { type: 'fixed', delay: 1, max: -1 }])(
    'refuses the rule %j',
    (rule) => {
      expect(() => backoffDelay(rule as never, 0, undefined)).toThrow(RangeError);
    },
  );
});
