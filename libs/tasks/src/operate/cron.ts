import { CronExpressionParser } from 'cron-parser';
import type { Schedule } from '../declare/task.js';

const DAY = 86_400_000;

/**
 * The first tick of a schedule after an instant, through every change of the zone's clock:
 *
 * - An expression that names hours ticks once for each time that it names. A time
 *   that the clock skips ticks at the first instant after the gap; of a time that
 *   occurs twice the first one counts.
 * - One that holds for every hour goes by the time that passes: what is skipped does
 *   not tick, and what occurs twice ticks twice.
 *
 * The parser is asked in UTC, where no clock is ever changed, for times on the wall;
 * which instants those are is decided here. In other zones it fails around a change,
 * or loses a run or repeats it.
 *
 * @param seed decides what `H` stands for.
 * @throws Error for an expression or a time zone that cannot be read.
 */
export function nextTick({ cron, timezone = 'UTC' }: Schedule, after: Date, seed: string): Date {
  const offsetAt = clockOf(timezone);
  const expression = CronExpressionParser.parse(cron, { tz: 'UTC', hashSeed: seed });
  const nextOnWall = (time: number) => {
    expression.reset(new Date(time));
    return expression.next().getTime();
  };
  const holdsEveryHour = expression.fields.hour.values.length === 24;
  let from = after.getTime();
  let wall = from + offsetAt(from);
  // What the wall shows now it may have shown before; nothing is repeated for longer than a day.
  const lastChange = firstChange(offsetAt, from - DAY, from);
  if (!holdsEveryHour && lastChange !== undefined) wall = Math.max(wall, lastChange - 1 + offsetAt(lastChange - 1));
  for (;;) {
    const tick = Math.max(nextOnWall(wall) - offsetAt(from), from);
    const change = firstChange(offsetAt, from, tick);
    if (change === undefined) return new Date(tick);
    // The clock is changed before the tick: look once more from there.
    wall = change - 1 + offsetAt(holdsEveryHour ? change : change - 1);
    from = change;
  }
}

/** What a zone's clocks on the wall are ahead of UTC at an instant; all in milliseconds. */
function clockOf(timezone: string): (instant: number) => number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone: timezone, timeZoneName: 'longOffset' });
  return (instant) => {
    // "3/31/2024, GMT+02:00"; in UTC "GMT" alone, and before the zones of today with seconds.
    const [, sign, hours = 0, minutes = 0, seconds = 0] = /GMT(?:(.)(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(format.format(instant)) ?? [];
    return (sign === '+' ? 1 : -1) * (Number(hours) * 3_600_000 + Number(minutes) * 60_000 + Number(seconds) * 1_000);
  };
}

/** The first instant after `from`, and not after `until`, from which on the clock is another. */
function firstChange(offsetAt: (instant: number) => number, from: number, until: number): number | undefined {
  const offset = offsetAt(from);
  for (let before = from; before < until;) {
    let after = Math.min(before + DAY, until);
    if (offsetAt(after) === offset) {
      before = after;
      continue;
    }
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2);
      if (offsetAt(middle) === offset) before = middle;
      else after = middle;
    }
    return after;
  }
  return undefined;
}
