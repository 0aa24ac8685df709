import { describe, expect, it } from 'vitest';
import { nextTick } from './cron.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Milliseconds that a zone's clock is ahead of UTC, read off the clock. */
function clockOf(timezone: string): (instant: number) => number {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium' });
  return (instant) => Date.parse(`${format.format(instant).replace(' ', 'T')}Z`) - instant;
}

interface Change {
  timezone: string;
  at: number;
  before: number;
  after: number;
}

/** Every change of every zone's clock within some years, each rule of change once. */
function changes(years: readonly number[]): Change[] {
  const found = new Map<string, Change>();
  for (const timezone of Intl.supportedValuesOf('timeZone')) {
    const offsetAt = clockOf(timezone);
    for (const year of years) {
      const end = Date.UTC(year + 1, 0, 2);
      for (let from = Date.UTC(year, 0, 1); from < end; from += 7 * 24 * HOUR) {
        const to = from + 7 * 24 * HOUR;
        if (offsetAt(from) === offsetAt(to)) continue;
        let [earlier, at] = [from, to];
        while (at - earlier > MINUTE) {
          const middle = Math.floor((earlier + at) / 2 / MINUTE) * MINUTE;
          if (offsetAt(middle) === offsetAt(from)) earlier = middle;
          else at = middle;
        }
        const change = { timezone, at, before: offsetAt(from), after: offsetAt(at) };
        found.set([at, change.before, change.after].join(' '), change);
      }
    }
  }
  return [...found.values()];
}

/** What a person would say who sits before the clock and ticks off a list of times of the day. */
function expectedTicks({ at, before, after }: Change, isDue: (minuteOfDay: number) => boolean, everyHour: boolean): number[] {
  const offsetAt = (instant: number) => (instant < at ? before : after);
  const ticks: number[] = [];
  let shown = -Infinity;
  for (let instant = at - 30 * HOUR; instant < at + 30 * HOUR; instant += MINUTE) {
    const wall = instant + offsetAt(instant);
    // An expression of every hour looks at the minute that is; one of certain hours at all that have gone by since, and at none twice.
    const from = everyHour || shown === -Infinity ? wall : shown + MINUTE;
    let ticksNow = false;
    for (let time = from; time <= wall; time += MINUTE) ticksNow ||= isDue((time / MINUTE) % (24 * 60));
    if (ticksNow) ticks.push(instant);
    shown = Math.max(shown, wall);
  }
  return ticks;
}

describe('the ticks of a schedule', () => {
  it('never stop, repeat or go missing, whatever the zone, when its clock is changed', () => {
    const all = changes([2025]);
    expect(all.length).toBeGreaterThan(50);
    const wrong: string[] = [];
    for (const change of all) {
      const { timezone, at, before, after } = change;
      const first = Math.min(before, after) + at;
      const last = Math.max(before, after) + at;
      const times = [first, (first + last) / 2, last].map((wall) => Math.floor(wall / MINUTE) % (24 * 60));
      const schedules: { cron: string; isDue: (minute: number) => boolean; everyHour?: boolean }[] = [
        ...times.map((time) => ({ cron: `${time % 60} ${Math.floor(time / 60)} * * *`, isDue: (minute: number) => minute === time })),
        { cron: `0 */2 * * *`, isDue: (minute: number) => minute % 120 === 0 },
        { cron: '*/20 * * * *', isDue: (minute: number) => minute % 20 === 0, everyHour: true },
      ];
      for (const { cron, isDue, everyHour = false } of schedules) {
        const expected = expectedTicks(change, isDue, everyHour).filter((tick) => tick > at - 26 * HOUR);
        // Each from the one before it, as the scheduler does, and from around the change.
        const near = expected.filter((tick) => Math.abs(tick - at) <= HOUR);
        const starts = [expected[0]!, ...near, at - 1, at];
        for (const start of starts) {
          const next = expected.find((tick) => tick > start);
          if (next === undefined) continue;
          const found = nextTick({ cron, timezone }, new Date(start), '').getTime();
          if (found !== next) wrong.push(`${timezone} ${cron} after ${iso(start)}: ${iso(found)} instead of ${iso(next)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each([
    ['midnight that does not exist', '0 0 * * *', 'Africa/Cairo', '2024-04-25T12:00Z', ['2024-04-25T22:00Z', '2024-04-26T21:00Z']],
    [
      'an hour before midnight that does not exist',
      '30 23 * * *',
      'America/Nuuk',
      '2025-03-30T00:00Z',
      ['2025-03-30T01:00Z', '2025-03-31T00:30Z'],
    ],
    [
      'midnight that comes half an hour early',
      '45 23 * * *',
      'Asia/Pyongyang',
      '2018-05-04T12:00Z',
      ['2018-05-04T15:00Z', '2018-05-05T14:45Z'],
    ],
    ['a day that does not exist', '0 12 * * *', 'Pacific/Apia', '2011-12-29T22:00Z', ['2011-12-30T10:00Z', '2011-12-30T22:00Z']],
    ['a time that occurs twice', '30 2 * * *', 'Europe/Berlin', '2025-10-25T12:00Z', ['2025-10-26T00:30Z', '2025-10-27T01:30Z']],
    [
      'every hour where one occurs twice',
      '30 * * * *',
      'Europe/Berlin',
      '2025-10-25T23:45Z',
      ['2025-10-26T00:30Z', '2025-10-26T01:30Z', '2025-10-26T02:30Z'],
    ],
    ['seconds', '*/30 * * * * *', 'Europe/Berlin', '2025-03-30T00:59:31Z', ['2025-03-30T01:00Z', '2025-03-30T01:00:30Z']],
    ['years between two ticks', '0 0 29 2 *', 'Europe/Berlin', '2024-02-29T00:00Z', ['2028-02-28T23:00Z']],
    ['a nickname', '@weekly', 'Asia/Tokyo', '2025-01-01T00:00Z', ['2025-01-04T15:00Z']],
    ['the last Friday', '0 0 * * 5L', 'UTC', '2025-01-01T00:00Z', ['2025-01-31T00:00Z']],
  ])('of %s', (_, cron, timezone, start, expected) => {
    let tick = new Date(start);
    const ticks = expected.map(() => (tick = nextTick({ cron, timezone }, tick, '')));
    expect(ticks.map((tick) => iso(tick.getTime()))).toEqual(expected.map((tick) => iso(Date.parse(tick))));
  });

  it('stand still where H has put them', () => {
    const tick = (after: string, seed: string) => nextTick({ cron: 'H H * * *' }, new Date(after), seed).toISOString().slice(11);
    expect(new Set(Array.from({ length: 20 }, () => tick('2025-01-01T00:00Z', 'a'))).size).toBe(1);
    expect(new Set(['a', 'b', 'c', 'd'].map((seed) => tick('2025-01-01T00:00Z', seed))).size).toBeGreaterThan(1);
  });

  it.each([
    ['every full moon', 'UTC'],
    ['0 0 31 2 *', 'UTC'],
    ['* * * * *', 'Mars/Olympus'],
  ])('of "%s" in %s there are none', (cron, timezone) => {
    expect(() => nextTick({ cron, timezone }, new Date(), '')).toThrow(/./);
  });
});

const iso = (instant: number) => new Date(instant).toISOString();
