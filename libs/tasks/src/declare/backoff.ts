import { types } from 'node:util';
import { type Duration, milliseconds } from './duration.js';

/**
 * How long to wait before a retry: always the same time, or twice as long every
 * time; each up to `max` (a day).
 */
export interface Backoff {
  type: 'fixed' | 'exponential';
  delay: Duration;
  max?: Duration;
}

/**
 * A task's own rule.
 *
 * @param retry how many retries there were before this one, from 0.
 * @returns milliseconds.
 */
export type BackoffFunction = (retry: number, error: unknown) => number;

const SECOND = 1_000;
const DAY = 24 * 3_600 * SECOND;

/**
 * The default wait before retry n (from 0): `n⁴ + 15 + rand(30)·(n + 1)`
 * seconds, at most a day.
 *
 * @see https://github.com/hibiken/asynq `DefaultRetryDelayFunc`, which takes it
 * from Sidekiq's `seconds_to_delay`; the random part spreads tasks that failed
 * together.
 * @returns milliseconds.
 */
export function defaultBackoff(retry: number, random: () => number = Math.random): number {
  const seconds = retry ** 4 + 15 + Math.floor(random() * 30) * (retry + 1);
  return Math.min(seconds * SECOND, DAY);
}

/**
 * The wait before retry n (from 0), in milliseconds, by the given rule or the default one.
 *
 * @throws RangeError for a rule that gives no number of milliseconds; and whatever a task's own rule throws.
 */
export function backoffDelay(rule: Backoff | BackoffFunction | undefined, retry: number, error: unknown): number {
  if (rule === undefined) return defaultBackoff(retry);
  if (typeof rule === 'function') {
    const delay: unknown = rule(retry, error);
    // Nobody waits for the promise of an async rule, and its rejection would end the process.
    if (types.isPromise(delay)) delay.catch(() => undefined);
    if (typeof delay !== 'number' || !Number.isFinite(delay) || delay < 0) {
      throw new RangeError('the backoff rule gave no number of milliseconds from 0');
    }
    return Math.min(Math.round(delay), DAY);
  }
  if (rule.type !== 'fixed' && rule.type !== 'exponential') throw new RangeError('backoff.type must be "fixed" or "exponential"');
  // 2⁶⁴ ms is longer than any delay, and a number that 0 can be multiplied with.
  const delay = milliseconds(rule.delay, 'backoff.delay') * (rule.type === 'exponential' ? 2 ** Math.min(retry, 64) : 1);
  return Math.min(delay, rule.max === undefined ? DAY : milliseconds(rule.max, 'backoff.max'), DAY);
}
