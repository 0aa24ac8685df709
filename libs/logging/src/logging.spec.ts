import { Config } from '@app/config';
import { expect, it, vi } from 'vitest';
import { withLogFields } from './log-fields.js';
import { createLogger } from './logging.module.js';

class SmtpError extends Error {
  readonly command = 'RCPT TO:<ada@example.com>';
  readonly code = 'EENVELOPE';
}

it('logs facts as fields, and no secret at any depth', () => {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => lines.push(String(chunk)) > 0);
  try {
    const logger = createLogger('test', Config.parse({}));
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
    });
  } finally {
    write.mockRestore();
  }
  const [line] = lines;
  expect(JSON.parse(line!)).toMatchObject({
    app: 'test',
    context: 'Context',
    taskId: 'task-1',
    err: { type: 'SmtpError', message: '550 no <[address]>', code: 'EENVELOPE', cause: { type: 'TypeError' } },
    msg: 'mail for [address] failed',
  });
  expect(line).not.toMatch(/ada@|hunter2|abcdef|RCPT/);
});
