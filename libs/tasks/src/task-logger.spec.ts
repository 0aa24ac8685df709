import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { InvalidTask } from './declare/errors.js';
import { TaskLogger } from './task-logger.js';

const lines: string[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const say = (...args: unknown[]) => void lines.push(String(args[1]));
  vi.spyOn(Logger.prototype, 'log').mockImplementation(say);
  vi.spyOn(Logger.prototype, 'warn').mockImplementation(say);
});
afterEach(() => {
  lines.length = 0;
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const withCode = (code: string, message: string) => Object.assign(new Error(message), { code });

it.each([
  ['a statement that took too long', withCode('57014', 'canceling statement due to statement timeout')],
  ['a transaction that was idle', withCode('25P03', 'terminating connection due to idle-in-transaction timeout')],
  ['a payload that does not fit', new InvalidTask('the payload does not fit "app.check_connections"')],
])('says of %s that it works again, not that a connection is regained', (_, error) => {
  const logger = new TaskLogger();
  logger.trouble('purge', error);
  vi.setSystemTime(Date.now() + 20_000);
  expect(logger.well('purge')).toBe(false);
  expect(lines).toEqual(['failed, and tries again', 'works again']);
});

it.each([
  ['Redis', withCode('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:6379')],
  ['Postgres', withCode('57P01', 'terminating connection due to administrator command')],
  ['a pool', new Error('timeout exceeded when trying to connect')],
])('says of a connection to %s that was lost that it is regained', (_, error) => {
  const logger = new TaskLogger();
  logger.trouble('relay', error);
  expect(logger.well('relay')).toBe(true);
  expect(lines).toEqual(['connection lost', 'connection regained']);
});
