import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { Config, InvalidEnvironment } from '@app/config';
import { expect, it } from 'vitest';

const run = promisify(execFile);

/** It takes some five minutes on two cores which other files use as well. */
const LIMIT = 600_000;

it(
  'keeps its promises through kills, outages, floods and hostile clients (the short version of make faults)',
  { timeout: LIMIT },
  async () => {
    const { stdout, code } = await run(process.execPath, ['test/faults/main.ts', '--short', '--concurrency', '3'], {
      timeout: LIMIT - 5_000,
      maxBuffer: 2 ** 26,
    }).then(
      ({ stdout }) => ({ stdout, code: 0 }),
      (error: { stdout: string; stderr: string; code: number | null }) => ({
        stdout: `${error.stdout}\n${error.stderr}`,
        code: error.code,
      }),
    );
    expect(code, stdout).toBe(0);
  },
);

it('refuses FAULTS in production', () => {
  const production = {
    NODE_ENV: 'production',
    DATABASE_URL: 'postgres://waybill:secret@db:5432/waybill?sslmode=verify-full',
    SMTP_URL: 'smtp://mail:587',
    MAIL_FROM: 'Waybill <no-reply@example.com>',
    PUBLIC_URL: 'https://example.com',
    SECRET_KEY: randomBytes(32).toString('base64'),
  };
  expect(Config.parse(production).FAULTS).toBeUndefined();
  expect(() => Config.parse({ ...production, FAULTS: 'relay.after-add:kill' })).toThrow(InvalidEnvironment);
  expect(Config.parse({ FAULTS: 'relay.after-add:kill@3' }).FAULTS).toBe('relay.after-add:kill@3');
});

it('a process does not start with FAULTS in production', async () => {
  const started = run(process.execPath, ['dist/worker.js'], {
    env: { PATH: process.env['PATH'], NODE_ENV: 'production', FAULTS: 'relay.after-add:kill' },
  });
  await expect(started).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('FAULTS: is for tests') as string });
});
