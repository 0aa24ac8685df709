import { Logger } from '@nestjs/common';
import { Config } from '@app/config';
import { startConsole } from '@app/console';
import type { TaskConsole } from '@app/tasks';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ConsoleClient, postLogIn } from '../support/console.js';
import { freePort } from '../../scripts/stack/ports.ts';

// It runs within the test's own process.
Logger.overrideLogger(false);

const PASSWORD = 'a password of operators';
const DEVELOPMENT_PASSWORD = 'waybill-operator';

/** Who gets in does not depend on which tasks there are. */
const tasks = {
  names: () => Promise.resolve({ types: ['account.greet'], queues: ['default'] }),
  pause: (queue: string, who: string) => Promise.resolve({ queue, who }),
} as unknown as TaskConsole;

const servers: FastifyInstance[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

async function serve(environment: Record<string, string> = {}): Promise<string> {
  const port = await freePort();
  const config = Config.parse({ CONSOLE_PORT: String(port), CONSOLE_PASSWORD: PASSWORD, ...environment });
  servers.push((await startConsole(config, tasks))!);
  return `http://127.0.0.1:${port}`;
}

let origin: string;
beforeAll(async () => {
  origin = await serve();
});

const logIn = (password: string, headers?: Record<string, string>) => postLogIn(origin, { username: 'operator', password }, headers);

describe('without the password', () => {
  it.each(['/', '/tasks', '/tasks/1?x', '/dead', '/schedules', '/workers', '/actions'])(
    'the page %s leads to the log-in, and then back',
    async (path) => {
      const response = await fetch(`${origin}${path}`, { redirect: 'manual' });
      expect(response.status).toBe(303);
      expect(response.headers.get('location')).toBe(path === '/' ? '/login' : `/login?next=${encodeURIComponent(path)}`);
      expect(await response.text()).toBe('');
    },
  );

  it.each(['/api/session', '/api/names', '/api/overview', '/api/nothing'])('%s tells nothing', async (path) => {
    const response = await fetch(`${origin}${path}`);
    expect([response.status, await response.json()]).toEqual([401, { message: 'log in first' }]);
    const post = await fetch(`${origin}${path}`, { method: 'POST', headers: { origin, 'content-type': 'application/json' }, body: '{}' });
    expect(post.status).toBe(401);
  });

  it('nor does a cookie let in that was made up, changed, or made for another password or key', async () => {
    const cookieOf = async (from: string, password: string) => {
      const answer = await postLogIn(from, { username: 'operator', password });
      return answer.headers.getSetCookie()[0]!.split(';')[0]!;
    };
    const right = await cookieOf(origin, PASSWORD);
    const status = async (cookie: string) => (await fetch(`${origin}/api/names`, { headers: { cookie } })).status;
    expect(await status(right)).toBe(200);
    const [text, nonce, signature] = right.split('=')[1]!.split('.') as [string, string, string];
    const longer = Buffer.from(JSON.stringify({ who: 'operator', until: Date.now() * 2 })).toString('base64url');
    const others = [
      await cookieOf(await serve({ CONSOLE_PASSWORD: 'another password' }), 'another password'),
      await cookieOf(await serve({ SECRET_KEY: Buffer.alloc(32, 'k').toString('base64') }), PASSWORD),
      'waybill_console=',
      'waybill_console=a.b.c',
      `waybill_console=${text}.${nonce}.`,
      `waybill_console=${longer}.${nonce}.${signature}`,
      `waybill_console=${text}.${nonce}x.${signature}`,
      `${right}.x`,
    ];
    expect(await Promise.all(others.map(status))).toEqual(others.map(() => 401));
  });
});

describe('the log-in', () => {
  it('gives a cookie that no script reads and no other site sends, and leads to where one came from', async () => {
    const answer = await postLogIn(origin, { username: 'operator', password: PASSWORD, next: '/tasks?state=dead' });
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/tasks?state=dead']);
    const cookie = answer.headers.getSetCookie()[0]!.split('; ');
    expect(cookie).toEqual(expect.arrayContaining(['HttpOnly', 'SameSite=Strict', 'Path=/']));
    expect(cookie.join(' ')).not.toContain(PASSWORD);
  });

  it.each(['https://evil.example/', '//evil.example/', '/\\evil.example', 'javascript:alert(1)', '///evil.example', '/.//evil.example'])(
    'leads to nobody else: %s',
    async (next) => {
      const answer = await postLogIn(origin, { username: 'operator', password: PASSWORD, next });
      const location = answer.headers.get('location')!;
      expect(new URL(location, origin).origin).toBe(origin);
      const page = await (await fetch(`${origin}/login?next=${encodeURIComponent(next)}`)).text();
      expect(/name="next" value="([^"]*)"/.exec(page)?.[1]).toMatch(/^\/(?!\/)/);
    },
  );

  it('notes the name of whoever logs in, beside what they do', async () => {
    const ada = await ConsoleClient.logIn(origin, PASSWORD, ' Ada <b> ');
    expect(await ada.ask('session', {})).toEqual({ who: 'Ada <b>', readOnly: false });
    expect(await ada.command('pauseQueue', { queue: 'default' })).toMatchObject({ who: 'Ada <b>' });
    const somebody = await ConsoleClient.logIn(origin, PASSWORD);
    expect(await somebody.ask('session', {})).toEqual({ who: 'operator', readOnly: false });
  });

  it('is in the log, with the address of whoever came and no word of what was typed, good and bad', async ({ onTestFinished }) => {
    const [log, warn] = [vi.spyOn(Logger.prototype, 'log'), vi.spyOn(Logger.prototype, 'warn')];
    onTestFinished(() => void vi.restoreAllMocks());
    expect((await logIn('a guess')).status).toBe(401);
    expect((await logIn(PASSWORD)).status).toBe(303);
    expect(warn.mock.calls).toEqual([[{ client: '127.0.0.1' }, 'a wrong password was given']]);
    expect(log.mock.calls).toEqual([[{ client: '127.0.0.1' }, 'an operator has logged in']]);
  });

  it('shows what was typed, and runs nothing of it', async () => {
    const answer = await postLogIn(origin, {
      username: 'operator',
      password: 'wrong',
      name: '"><script>alert(1)</script>',
      next: '/"><b>',
    });
    const page = await answer.text();
    expect(answer.status).toBe(401);
    expect(page).not.toMatch(/<script>|"><b>/);
  });

  it('ends when one logs out', async () => {
    const answer = await fetch(`${origin}/logout`, { method: 'POST', headers: { origin }, redirect: 'manual' });
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/login']);
    expect(answer.headers.getSetCookie()[0]).toMatch(/^waybill_console=;.*Expires=Thu, 01 Jan 1970/);
  });

  it('takes ten wrong passwords from an address, and then ten a minute; others are not held up', async () => {
    const guarded = await serve({ TRUST_PROXY: '1' });
    const logIn = (password: string, address?: string) =>
      postLogIn(
        guarded,
        { username: 'operator', password },
        { origin: guarded, ...(address !== undefined && { 'x-forwarded-for': address }) },
      );
    // Who knows it is never held up.
    for (let turn = 0; turn < 30; turn++) expect((await logIn(PASSWORD)).status).toBe(303);
    const statuses: number[] = [];
    for (let turn = 0; turn < 30; turn++) statuses.push((await logIn(`guess ${turn}`)).status);
    expect(statuses.slice(0, 10)).toEqual(Array<number>(10).fill(401));
    // A slow machine may have had one more by then.
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(18);
    const refused = await logIn(PASSWORD);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(6);
    expect((await logIn(PASSWORD, '2001:db8:1:2:3::4')).status).toBe(303);
    // A network of IPv6 is one source.
    for (let turn = 0; turn < 12; turn++) await logIn('guess', `2001:db8:7:7:${turn}::1`);
    expect((await logIn(PASSWORD, '2001:db8:7:7:ffff::1')).status).toBe(429);
    expect((await logIn(PASSWORD, '2001:db8:7:8::1')).status).toBe(303);
  });
});

describe('another page', () => {
  const FOREIGN = [
    ['of another site', { origin: 'https://evil.example' }],
    ['on another port of this machine', { origin: 'http://127.0.0.1:1080' }],
    ['without a name', { origin: 'null' }],
    ['that says nothing', { origin: '' }],
    ['that the browser knows as another', { 'sec-fetch-site': 'cross-site' }],
    ['on the same machine, which the browser knows as such', { 'sec-fetch-site': 'same-site' }],
  ] as const;

  it.each(FOREIGN)('%s has nothing done, whoever looks at it', async (_, headers) => {
    const client = await ConsoleClient.logIn(origin, PASSWORD);
    const response = await client.post('pauseQueue', { queue: 'default' }, headers);
    expect([response.status, await response.json()]).toEqual([403, { message: 'the request comes from another page' }]);
    expect((await logIn(PASSWORD, headers)).status).toBe(403);
    const out = await client.fetch('/logout', { method: 'POST', headers });
    expect(out.status).toBe(403);
  });

  it('shows none of this one in a frame, and this one loads nothing from elsewhere and runs no script within a document', async () => {
    const client = await ConsoleClient.logIn(origin, PASSWORD);
    for (const path of ['/', '/login', '/api/names', '/assets/none', '/nothing']) {
      const { headers } = await client.fetch(path);
      const policy = headers.get('content-security-policy')!.split('; ');
      expect(policy).toEqual(
        expect.arrayContaining(["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]),
      );
      expect(policy.join(' ')).not.toMatch(/https?:|\*|unsafe|data:/);
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
      expect(headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  it('that has made its name point here does not get in by the password that everybody knows', async () => {
    const known = await serve({ CONSOLE_PASSWORD: DEVELOPMENT_PASSWORD });
    const { hostname, port } = new URL(known);
    const status = async (host: string) => {
      const { request } = await import('node:http');
      return new Promise<number | undefined>((resolve, reject) =>
        request({ hostname, port, path: '/login', headers: { host } }, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end(),
      );
    };
    expect(await status(`rebound.example:${port}`)).toBe(403);
    expect(await Promise.all([`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`].map(status))).toEqual([200, 200, 200]);
  });
});

describe('what is no question', () => {
  let client: ConsoleClient;
  beforeAll(async () => {
    client = await ConsoleClient.logIn(origin, PASSWORD);
  });

  it.each([
    ['/api/nothing', 404],
    ['/api/constructor', 404],
    ['/api/names?input={', 400],
    ['/api/names?input=[]', 400],
    ['/api/names?input={"more":1}', 400],
    ['/api/task?input={"id":5}', 400],
    [`/api/search?input=${encodeURIComponent(JSON.stringify({ search: { error: 'x'.repeat(1_001) } }))}`, 400],
    ['/nothing', 404],
    ['/assets/..%2f..%2fpackage.json', 404],
  ])('%s is refused', async (path, status) => {
    const response = await client.fetch(path);
    expect(response.status).toBe(status);
    expect(await response.text()).not.toMatch(/\bat .*\.ts/);
  });

  it('nor is a command, or one that is larger than any payload', async () => {
    expect((await client.post('nothing', {})).status).toBe(404);
    expect((await client.post('pauseQueue', {})).status).toBe(400);
    expect((await client.post('pauseQueue', { queue: 'x'.repeat(600_000) })).status).toBe(413);
    expect((await client.fetch('/api/pauseQueue', { method: 'POST', body: '{"queue":"default"}' })).status).toBe(415);
    // A question is no command.
    expect((await client.fetch('/api/pauseQueue?input={"queue":"default"}')).status).toBe(404);
  });
});

it('a console that is read-only does nothing, and says so', async () => {
  const client = await ConsoleClient.logIn(await serve({ CONSOLE_READ_ONLY: 'true' }), PASSWORD);
  expect(await client.ask('session', {})).toEqual({ who: 'operator', readOnly: true });
  await expect(client.command('pauseQueue', { queue: 'default' })).rejects.toThrow('403: this console is read-only');
  expect(await client.ask('names', {})).toMatchObject({ queues: ['default'] });
});
