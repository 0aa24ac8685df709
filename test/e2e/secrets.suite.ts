import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SessionService, UserService } from '@app/contract';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Caller } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { ConsoleClient } from '../support/console.js';
import { eventually } from '../support/eventually.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const {
  getUser,
  updateUser,
  changePassword,
  createUser,
  verifyEmail,
  resendVerificationEmail,
  requestPasswordReset,
  resetPassword,
  changeEmail,
  deleteUser,
} = UserService.method;
const { createSession, refreshSession } = SessionService.method;

/** A text that occurs nowhere else in the world; letters alone, so that it may be a name too. */
const canary = (what: string) => `Canary${what}${[...randomBytes(8)].map((byte) => String.fromCharCode(97 + (byte % 26))).join('')}`;

/** What must be seen nowhere but where it belongs. */
const canaries = {
  password: canary('Password'),
  newPassword: canary('NewPassword'),
  wrongPassword: canary('WrongPassword'),
  newEmail: canary('NewAddress'),
  email: canary('Address'),
  deadEmail: canary('Dead'),
  retriedEmail: canary('Retried'),
  refusedEmail: canary('Refused'),
  racedEmail: canary('Raced'),
  racedUsername: canary('Raced').toLowerCase(),
  name: canary('Name'),
  login: canary('Login'),
  authorization: canary('Authorization'),
  cookie: canary('Cookie'),
  query: canary('Query'),
  body: canary('Body'),
  consolePassword: canary('Console'),
};

const personal = new Set<keyof typeof canaries>(['email', 'newEmail', 'deadEmail', 'retriedEmail', 'racedEmail', 'racedUsername', 'name']);

/** What Postgres has logged, of every test; in lower case, as its details show an index on lower(…). */
const postgresLog = () => readFileSync(inject('postgresLog'), 'utf8').toLowerCase();

/** Everything that Redis holds under a prefix, keys and values, as text. */
async function dumpRedis(prefix: string): Promise<string> {
  const redis = new Redis(`redis://${inject('redisAddress')}`);
  try {
    const parts: unknown[] = [];
    for (const key of await redis.keys(`*${prefix}*`)) {
      const type = await redis.type(key);
      parts.push(key, type);
      if (type === 'string') parts.push(await redis.get(key));
      else if (type === 'hash') parts.push(await redis.hgetall(key));
      else if (type === 'list') parts.push(await redis.lrange(key, 0, -1));
      else if (type === 'set') parts.push(await redis.smembers(key));
      else if (type === 'zset') parts.push(await redis.zrange(key, 0, '-1'));
      else if (type === 'stream') parts.push(await redis.xrange(key, '-', '+'));
      else throw new Error(`a key of type ${type} was not looked into`);
    }
    return JSON.stringify(parts);
  } finally {
    redis.disconnect();
  }
}

/** I5: nothing secret or personal reaches a log, a payload, Redis or the console. One suite for every dispatcher. */
export function describeSecrets(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`what was told in confidence, with the queues in ${dispatcher}`, () => {
    let waybill: Waybill;
    const tokens: string[] = [];
    /** Every row of every table, as text, by the table's name. */
    const tables = new Map<string, string>();
    let redis = '';
    /** What the console tells of every task. */
    let shown = '';

    beforeAll(async () => {
      const consolePort = String(await freePort());
      waybill = await Waybill.create(dispatcher, {
        environment: { LOG_LEVEL: 'trace', CONSOLE_PORT: consolePort, CONSOLE_PASSWORD: canaries.consolePassword },
      });
      await Promise.all([waybill.startApi(), waybill.startWorker()]);
      // Long enough to be looked at while it waits.
      await waybill.retryQuickly(60_000);
      await everythingThatCanBeTold();
      shown = await everythingThatIsShown(await ConsoleClient.logIn(`http://127.0.0.1:${consolePort}`, canaries.consolePassword));
      for (const { schema, name } of await waybill.database.query<{ schema: string; name: string }>(
        `SELECT table_schema AS schema, table_name AS name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')`,
      )) {
        const rows = await waybill.database.query(`SELECT row_to_json(t)::text FROM "${schema}"."${name}" t`);
        tables.set(`${schema}.${name}`, JSON.stringify(rows));
      }
      if (dispatcher === 'redis') redis = await dumpRedis(waybill.environment['REDIS_PREFIX']!);
    });
    afterAll(() => waybill?.close());

    /** Calls of every kind, that end well and badly, on both transports; tasks that complete, wait for a retry, and die. */
    async function everythingThatCanBeTold() {
      const secret = { authorization: `Bearer ${canaries.authorization}`, cookie: `session=${canaries.cookie}` };
      const fullName = canaries.name;
      const { password } = canaries;
      for (const caller of waybill.callers) {
        const person = (local: string) => ({
          username: `u${randomBytes(6).toString('hex')}`,
          fullName,
          email: `${local}.${caller.transport}@example.com`,
          password,
        });
        const [well, dead, retried] = [person(canaries.email), person(canaries.deadEmail), person(canaries.retriedEmail)];
        waybill.mail.when(dead.email, { refuse: 550, at: 'recipient' });
        waybill.mail.when(retried.email, { refuse: 451, at: 'data' });
        for (const each of [well, dead, retried, well]) await caller.call(createUser, each, secret);
        await caller.call(createUser, { ...well, username: canaries.body, email: `${canaries.refusedEmail}@example.com` }, secret);
        await caller.call(
          createUser,
          { password: canaries.password, fullName: `<${canaries.name}>`, email: canaries.refusedEmail },
          secret,
        );
        await caller.call(resendVerificationEmail, { email: dead.email }, secret);
        const { token } = await waybill.mail.mailTo(well.email);
        await eventually(() => waybill.mail.triesTo(retried.email).length === 1);
        tokens.push(token, waybill.mail.triesTo(retried.email)[0]!.mail!.token);
        for (let time = 0; time < 2; time++) await caller.call(verifyEmail, { token }, secret);
        await caller.call(verifyEmail, { token: canaries.query }, secret);
        const session = await caller.call(createSession, { login: well.email, password }, secret);
        const { accessToken = '', refreshToken = '' } = session.response?.tokens ?? {};
        tokens.push(accessToken, refreshToken);
        await caller.call(getUser, {}, { authorization: `Bearer ${accessToken}` });
        for (const login of [well.email, well.username, canaries.login]) {
          await caller.call(createSession, { login, password: canaries.body }, secret);
        }
        await caller.call(getUser, {}, secret);
        for (const token of [refreshToken, canaries.query]) {
          const refreshed = await caller.call(refreshSession, { refreshToken: token }, secret);
          if (refreshed.response) tokens.push(refreshed.response.tokens!.refreshToken, refreshed.response.tokens!.accessToken);
        }
        for (const [currentPassword, newPassword] of [
          [canaries.wrongPassword, canaries.newPassword],
          [password, well.email],
        ] as const) {
          await caller.call(changePassword, { currentPassword, newPassword }, { authorization: `Bearer ${accessToken}` });
        }
        await caller.call(updateUser, { user: { fullName: canaries.name } }, { authorization: `Bearer ${accessToken}` });
        await aForgottenPassword(caller, well.email, secret);
        await anotherAddress(caller, well.username, secret);
        await everythingThatClashes(caller, secret);
      }
      const post = (path: string, contentType: string, body: string) =>
        waybill.fetch(path, { method: 'POST', headers: { ...secret, 'content-type': contentType }, body });
      for (const path of ['/v1/users', '/verify-email', `/nowhere/${canaries.query}`, `/v1/users?email=${canaries.refusedEmail}`]) {
        await post(path, 'application/json', `{"password":"${canaries.body}"`);
        await post(path, 'text/plain', canaries.body);
        await waybill.fetch(path, { method: 'PUT', headers: secret, body: canaries.body });
      }
      for (const token of [...tokens, canaries.query]) {
        await waybill.fetch(`/verify-email?token=${token}`, { headers: secret });
        await waybill.fetch('/verify-email', { method: 'POST', headers: secret, body: new URLSearchParams({ token }) });
        await waybill.fetch(`/healthz?token=${token}`, { headers: secret });
      }
      await eventually(async () => {
        const ledger = await waybill.ledger();
        return (
          ledger.filter(({ state }) => state === 'dead').length >= 2 &&
          ledger.filter(({ failures, state }) => failures === 1 && (state === 'dispatched' || state === 'pending')).length === 2
        );
      });
    }

    /** A new password, asked for and set, well and badly; and its notice, which the mail server does not take yet. */
    async function aForgottenPassword(caller: Caller, email: string, secret: Record<string, string>) {
      for (const address of [email, `${canaries.refusedEmail}@example.com`])
        await caller.call(requestPasswordReset, { email: address }, secret);
      const { token } = await eventually(() => waybill.mail.mailsTo(email).find(({ subject }) => subject === 'Choose a new password'));
      tokens.push(token);
      const newPassword = canaries.newPassword;
      for (const bad of [canaries.query, token.slice(1)]) await caller.call(resetPassword, { token: bad, newPassword }, secret);
      await caller.call(resetPassword, { token, newPassword: email }, secret);
      const form = (password: string) => ({ method: 'POST', headers: secret, body: new URLSearchParams({ token, password }) });
      await waybill.fetch(`/reset-password?token=${token}`, { headers: secret });
      await waybill.fetch('/reset-password', form('short'));
      await waybill.fetch('/reset-password/new', { method: 'POST', headers: secret, body: new URLSearchParams({ email }) });
      waybill.mail.when(email, { refuse: 451, at: 'data' });
      for (let time = 0; time < 2; time++) await caller.call(resetPassword, { token, newPassword }, secret);
      await waybill.fetch('/reset-password', form(newPassword));
      await eventually(() => waybill.mail.triesTo(email).some(({ mail }) => mail?.subject === 'Your password was changed'));
    }

    /** What the console tells an operator. */
    async function everythingThatIsShown(client: ConsoleClient): Promise<string> {
      const { tasks } = await client.ask('search', { search: {} });
      const pages = await Promise.all(tasks.map(({ id }) => client.ask('task', { id })));
      const others = [client.ask('overview', {}), client.ask('deadGroups', {}), client.ask('workers', {}), client.ask('names', {})];
      return JSON.stringify([tasks, pages, await Promise.all<unknown>(others)]);
    }

    /** An address that is changed, and taken back; one that waits for its mail; and an account that is deleted, whose last mail waits. */
    async function anotherAddress(caller: Caller, login: string, secret: Record<string, string>) {
      const password = canaries.newPassword;
      const headers = { ...secret, ...(await logIn(caller, { username: login, password })).headers };
      const [first, second] = ['1', '2'].map((local) => `${canaries.newEmail}.${local}.${caller.transport}@example.com`) as [
        string,
        string,
      ];
      await caller.call(changeEmail, { newEmail: first, currentPassword: canaries.wrongPassword }, headers);
      await caller.call(deleteUser, { currentPassword: canaries.wrongPassword }, headers);
      for (const newEmail of [first, canaries.refusedEmail])
        await caller.call(changeEmail, { newEmail, currentPassword: password }, headers);
      const { token } = await waybill.mail.mailTo(first);
      await waybill.fetch(`/verify-email?token=${token}`, { headers: secret });
      for (let time = 0; time < 2; time++) await caller.call(verifyEmail, { token }, secret);
      waybill.mail.when(second, { refuse: 451, at: 'data' });
      await caller.call(changeEmail, { newEmail: second, currentPassword: password }, headers);
      await eventually(() => waybill.mail.triesTo(second).length === 1);
      await waybill.fetch('/undo-email-change', { method: 'POST', headers: secret, body: new URLSearchParams({ token: token.slice(1) }) });
      tokens.push(token, waybill.mail.triesTo(second)[0]!.mail!.token, headers.authorization.replace('Bearer ', ''));
      waybill.mail.when(first, { refuse: 451, at: 'data' });
      await caller.call(deleteUser, { currentPassword: password }, headers);
      await eventually(() => waybill.mail.triesTo(first).some(({ mail }) => mail?.subject === 'Your account was deleted'));
    }

    /** Sign-ups at the same instant with one address, one username, one request's id; and links of several of them. */
    async function everythingThatClashes(caller: Caller, secret: Record<string, string>) {
      const { password, racedUsername, name: fullName } = canaries;
      const email = `${canaries.racedEmail}.${caller.transport}@example.com`;
      const someone = () => ({ username: `u${randomBytes(6).toString('hex')}`, fullName, email, password });
      const again = { ...someone(), requestId: randomUUID() };
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          await caller.call(createUser, someone(), secret);
          await caller.call(createUser, { ...someone(), username: racedUsername, email: `${index}.${email}` }, secret);
          await caller.call(createUser, again, secret);
        }),
      );
      const mailed = await eventually(() => waybill.mail.mailsTo(email).length >= 3 && waybill.mail.mailsTo(email));
      tokens.push(...mailed.map(({ token }) => token));
      await Promise.all(mailed.map(({ token }) => caller.call(verifyEmail, { token }, secret)));
      // Told to the owner.
      await caller.call(createUser, someone(), secret);
    }

    it('did happen: there are tokens, log lines, tasks that wait and tasks that died, and people in their table', () => {
      expect(tokens.filter((token) => token.length > 20).length).toBeGreaterThanOrEqual(10);
      expect(waybill.api.lines.filter(({ msg }) => msg === 'call').length).toBeGreaterThan(30);
      expect(waybill.worker.lines.filter(({ msg }) => msg === 'task buried').length).toBeGreaterThanOrEqual(2);
      expect(tables.get('public.users')).toContain(canaries.retriedEmail);
      expect(tables.get('public.account_notice')).toContain(canaries.newEmail);
      expect(tables.get('public.task')).toContain('retry skipped');
      for (const queues of [dispatcher === 'redis' ? redis : tables.get('public.task')]) {
        expect(queues).toContain('account.send_verification_email');
        expect(queues).toContain('the mail could not be sent');
      }
      expect(shown).toContain('account.send_verification_email');
      expect(shown).toContain('the mail server refused the mail');
    });

    it.each(Object.keys(canaries) as (keyof typeof canaries)[])('the %s was neither logged nor shown', (what) => {
      for (const { program, output } of waybill.processes) expect(output, `the ${program}`).not.toContain(canaries[what]);
      expect(postgresLog(), 'Postgres').not.toContain(canaries[what].toLowerCase());
      expect(shown).not.toContain(canaries[what]);
    });

    it('nor was what the apps were told in their environment', () => {
      const { SECRET_KEY = '', DATABASE_URL = '' } = waybill.environment;
      for (const { output } of waybill.processes) {
        expect(output).not.toContain(SECRET_KEY);
        expect(output).not.toContain(DATABASE_URL);
      }
    });

    it('no token was logged, nor stored anywhere', () => {
      for (const token of tokens) {
        for (const { output } of waybill.processes) expect(output).not.toContain(token);
        expect(postgresLog()).not.toContain(token.toLowerCase());
        for (const [name, rows] of tables) expect(rows, name).not.toContain(token);
        expect(redis + shown).not.toContain(token);
      }
    });

    it.each(Object.keys(canaries) as (keyof typeof canaries)[])('the %s is stored where it belongs, or nowhere', (what) => {
      for (const [name, rows] of tables) {
        if (
          personal.has(what) &&
          ['public.users', 'public.email_verification', 'public.account_link', 'public.account_notice'].includes(name)
        )
          continue;
        expect(rows.toLowerCase(), name).not.toContain(canaries[what].toLowerCase());
      }
      expect(redis.toLowerCase()).not.toContain(canaries[what].toLowerCase());
    });

    it('not even where a letter could be told by its domain', () => {
      for (const { output } of waybill.processes) expect(output).not.toMatch(/@example\.com/i);
      expect(redis + shown).not.toMatch(/@example\.com/i);
      expect(tables.get('public.task')).not.toMatch(/@example\.com/i);
    });
  });
}
