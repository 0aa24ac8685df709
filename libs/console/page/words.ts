import { now } from './client.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `850 ms`, `4.2 s`, `3 m 5 s`, `2 h 10 m`, `4 d 3 h`. */
export function duration(milliseconds: number): string {
  const length = Math.max(0, milliseconds);
  if (length < SECOND) return `${Math.round(length)} ms`;
  if (length < 10 * SECOND) return `${trim((length / SECOND).toFixed(1))} s`;
  if (length < MINUTE) return `${Math.round(length / SECOND)} s`;
  if (length < HOUR) return two(length, MINUTE, 'm', SECOND, 's');
  if (length < DAY) return two(length, HOUR, 'h', MINUTE, 'm');
  return two(length, DAY, 'd', HOUR, 'h');
}

function two(length: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((length % large) / small);
  return `${Math.floor(length / large)} ${largeName}${rest === 0 ? '' : ` ${rest} ${smallName}`}`;
}

function trim(text: string): string {
  return text.replace(/\.0$/, '');
}

/** `3 m ago`, `in 10 s`, `now`. */
export function distance(time: string): string {
  const ahead = Date.parse(time) - now();
  if (Math.abs(ahead) < SECOND) return 'now';
  const whole = Math.round(Math.abs(ahead) / SECOND) * SECOND;
  return ahead > 0 ? `in ${duration(whole)}` : `${duration(whole)} ago`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

/** By the reader's clock: `14:03:20` today, else `26 Nov 2026, 14:03:20`. */
export function timeOfDay(time: string): string {
  const date = new Date(time);
  const isToday = day.format(date) === day.format(now());
  return isToday ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
}

const grouped = new Intl.NumberFormat('en-US');
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

/** `9,876`; from 100,000 on `1.2M`. */
export function number(value: number): string {
  return value < 100_000 ? grouped.format(value) : short.format(value);
}

/** `12.5/s`; a little is told by the minute: `3/min`. */
export function rate(perSecond: number): string {
  if (perSecond === 0) return '0/s';
  if (perSecond < 1) return `${trim((perSecond * 60).toFixed(1))}/min`;
  return `${perSecond < 100 ? trim(perSecond.toFixed(1)) : number(Math.round(perSecond))}/s`;
}

/** `1 task`, `3 tasks`. */
export function many(count: number, one: string, more = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : more}`;
}
