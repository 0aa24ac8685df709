import ms, { type StringValue } from 'ms';

/** Milliseconds, or a text of the `ms` package such as `10s`, `5m`, `24h`. */
export type Duration = number | StringValue;

/** The longest that anything may be put off: ten years. */
const LONGEST = 10 * 365 * 24 * 3_600_000;

/**
 * Reads a duration as whole milliseconds.
 *
 * @param name what the duration is, for the message of the error.
 * @throws RangeError when it is no duration, negative, or longer than ten years.
 */
export function milliseconds(duration: Duration, name: string): number {
  const value = typeof duration === 'number' ? duration : isReadable(duration) ? (ms(duration) as number | undefined) : undefined;
  if (value === undefined || !Number.isFinite(value) || value < 0 || value > LONGEST) {
    throw new RangeError(`${name} must be a duration from 0 to ten years, not ${JSON.stringify(duration)}`);
  }
  return Math.round(value);
}

/** What the `ms` package takes without an error of its own. */
function isReadable(duration: unknown): duration is StringValue {
  return typeof duration === 'string' && duration.length > 0 && duration.length <= 100;
}
