import type { LoggerService } from '@nestjs/common';
import { Config } from '@app/config';
import { beforeEach, expect, it, vi } from 'vitest';
import { withLogFields } from './log-fields.js';
import { createLogger } from './logging.module.js';

class SmtpError extends Error {
  readonly command = 'RCPT TO:<ada@example.com>';
  readonly code = 'EENVELOPE';
}

// nestjs-pino keeps one logger a process for all, and the specs that ran before this one in it have made theirs.
beforeEach(async () => {
  const path = new URL('./rootLogger.js', import.meta.resolve('nestjs-pino')).href;
  ((await import(path)) as { resetRootLogger: () => void }).resetRootLogger();
});

/** What is written while `log` logs. */
function linesOf(log: (logger: LoggerService) => void): string[] {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => lines.push(String(chunk)) > 0);
  try {
    log(createLogger('test', Config.parse({ LOG_LEVEL: 'trace' })));
  } finally {
    write.mockRestore();
  }
  return lines;
}

it('logs facts as fields, and no secret at any depth', () => {
  const [line] = linesOf((logger) =>
    withLogFields({ taskId: 'task-1' }, () => {
      logger.error(
        {
          err: new SmtpError('550 no <ada@example.com>', { cause: new TypeError('token=abcdef') }),
          deep: { password: 'hunter2hunter2', list: ['postgres://me:hunter2@db/x'] },
          authorization: 'Bearer hunter2',
        },
        'mail for ada@example.com failed',
        'Context',
      );
    }),
  );
  expect(JSON.parse(line!)).toMatchObject({
    app: 'test',
    context: 'Context',
    taskId: 'task-1',
    err: { type: 'SmtpError', message: '550 no <[address]>', code: 'EENVELOPE', cause: { type: 'TypeError' } },
    msg: 'mail for [address] failed',
  });
  expect(line).not.toMatch(/ada@|hunter2|abcdef|RCPT/);
});

it('says nothing secret in what a line gets its message from: an error, a format and its values', () => {
  const lines = linesOf((logger) => {
    logger.error(new Error('no <ada@example.com>'), 'Context');
    logger.error({ err: new Error('no <ada@example.com>') }, 'Context');
    logger.warn('password=%s for %o', 'hunter2', { email: 'ada@example.com' }, 'Context');
    logger.log('100 % of %s', 'x', 'more', 'Context');
    logger.log('nothing to fill in', { secret: 'hunter2' }, 'Context');
  });
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
    'no <[address]>',
    'no <[address]>',
    'password=[redacted]',
    '100 % of x',
    'nothing to fill in',
  ]);
  expect(lines.join()).not.toMatch(/ada@|hunter2/);
});

it('writes a line of bounded length for whatever is logged', () => {
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const values: unknown[] = [
    { err: new Error('x'.repeat(2_000_000)) },
    { list: Array.from({ length: 100_000 }, () => ({ text: 'y'.repeat(100) })) },
    Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`key${index}`, index])),
    {
      get broken() {
        throw new Error('ada@example.com');
      },
    },
    { proxy: revoked.proxy },
    revoked.proxy,
    new Proxy(new Error('x'), {
      getPrototypeOf() {
        throw new Error('ada@example.com');
      },
    }),
    {
      toJSON() {
        throw new Error('ada@example.com');
      },
    },
    { big: 10n ** 5_000n, symbol: Symbol('x'), date: new Date(Number.NaN) },
    'z'.repeat(2_000_000),
    undefined,
    null,
  ];
  for (const value of values) {
    const lines = linesOf((logger) => logger.warn(value, 'Context'));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ app: 'test', level: 40 });
    expect(lines[0]!.length).toBeLessThan(150_000);
    expect(lines[0]).not.toContain('ada@');
  }
});

it('writes whatever is logged at every level', () => {
  const broken = {
    get broken() {
      throw new Error('ada@example.com');
    },
  };
  const lines = linesOf((logger) => {
    for (const level of ['verbose', 'debug', 'log', 'warn', 'error', 'fatal'] as const) logger[level]!(broken, 'Context');
  });
  const written = lines.map((line) => JSON.parse(line) as { level: number; value: unknown });
  expect(written.map(({ level, value }) => [level, value])).toEqual(
    [10, 20, 30, 40, 50, 60].map((level) => [level, { broken: '[unreadable]' }]),
  );
});
