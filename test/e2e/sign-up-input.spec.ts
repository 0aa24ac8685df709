import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { UserService } from '@app/contract';
import { verify } from '@node-rs/argon2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Caller, Code, httpPath, readHttpError } from '../support/callers.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser } = UserService.method;

/** Words that would show that the database itself has answered. */
const DATABASE_WORDS = /postgres|sql|duplicate|constraint|relation|column|users_|23505/i;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres');
  await waybill.startApi();
});
afterAll(() => waybill?.close());

const countOf = async (condition: string, value: string) =>
  (await waybill.database.query<{ count: number }>(`SELECT count(*)::int AS count FROM users WHERE ${condition}`, [value]))[0]?.count;

describe.each(['http', 'grpc'] as const)('what is taken, over %s', (transport) => {
  it.each([
    ['e-mail address', 'email', (email: string) => email],
    ['e-mail address in another case', 'email', (email: string) => email.toUpperCase()],
    ['username', 'username', undefined],
  ] as const)('a %s is ALREADY_EXISTS, and names the field', async (_, field, vary) => {
    const first = somebody();
    expect((await waybill.http.call(createUser, first)).code).toBe(Code.OK);
    const second = { ...somebody(), ...(vary ? { email: vary(first.email) } : { username: first.username }) };
    const answer = await waybill[transport].call(createUser, second);
    expect(answer).toMatchObject({ code: Code.ALREADY_EXISTS, violations: [{ field, description: answer.message }] });
    expect(answer.message).not.toMatch(DATABASE_WORDS);
    // Nothing of the first person is told, and nothing of theirs has changed.
    expect(JSON.stringify(answer)).not.toContain(first.fullName);
    expect(await countOf('username = $1', second.username)).toBe(field === 'email' ? 0 : 1);
  });
});

describe('fifty sign-ups at the same instant, over both transports', () => {
  const race = (people: ReturnType<typeof somebody>[]) =>
    Promise.all(people.map((person, index) => waybill.callers[index % 2]!.call(createUser, person)));

  it.each([
    ['username', () => ({ username: `race_${randomBytes(4).toString('hex')}` })],
    ['email', () => ({ email: `Race.${randomBytes(4).toString('hex')}@Example.com` })],
  ] as const)('for one %s: exactly one wins', async (field, make) => {
    const shared = make();
    const people = Array.from({ length: 50 }, (_, index) => {
      const person = { ...somebody(), ...shared };
      // Half of them write the address in capitals: it is the same one.
      return field === 'email' && index % 4 < 2 ? { ...person, email: person.email.toUpperCase() } : person;
    });
    const answers = await race(people);
    expect(answers.filter(({ code }) => code === Code.OK)).toHaveLength(1);
    const others = answers.filter(({ code }) => code !== Code.OK);
    for (const answer of others) {
      expect(answer).toMatchObject({ code: Code.ALREADY_EXISTS, violations: [{ field }] });
      expect(JSON.stringify(answer)).not.toMatch(DATABASE_WORDS);
    }
    expect(await countOf(`lower(${field}) = lower($1)`, people[0]![field])).toBe(1);
    // As many tasks as people: those who lost left none behind.
    const [{ stray } = { stray: -1 }] = await waybill.database.query<{ stray: number }>(
      `SELECT count(*)::int AS stray FROM task WHERE NOT EXISTS (SELECT FROM users WHERE users.id = (payload->>'userId')::uuid)`,
    );
    expect(stray).toBe(0);
  });
});

it('a flood is answered, person by person: signed up, or asked to come again', async () => {
  const answers = await Promise.all(Array.from({ length: 400 }, (_, index) => waybill.callers[index % 2]!.call(createUser, somebody())));
  const codes = new Set(answers.map(({ code }) => code));
  expect([...codes].sort()).toEqual([Code.OK, Code.RESOURCE_EXHAUSTED]);
  expect(answers.filter(({ code }) => code === Code.OK).length).toBeGreaterThanOrEqual(100);
}, 120_000);

describe.each(['http', 'grpc'] as const)('passwords and names, over %s', (transport) => {
  const callerOf = (): Caller => waybill[transport];
  /** Violations are in the spelling of their transport. */
  const fullNameField = transport === 'http' ? 'fullName' : 'full_name';

  it('a password of 128 emoji is taken whole', async () => {
    const password = '🦊'.repeat(127) + '🐺';
    const person = { ...somebody(), password };
    expect((await callerOf().call(createUser, person)).code).toBe(Code.OK);
    const [row] = await waybill.database.query<{ password_hash: string }>('SELECT password_hash FROM users WHERE username = $1', [
      person.username,
    ]);
    expect(row?.password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await verify(row!.password_hash, password)).toBe(true);
    expect(await verify(row!.password_hash, '🦊'.repeat(127))).toBe(false);
    expect(await verify(row!.password_hash, '🦊'.repeat(128))).toBe(false);
  });

  it.each([
    ['129 emoji', '🦊'.repeat(129)],
    ['7 characters', 'seven77'],
    ['nothing', ''],
  ])('a password of %s is refused', async (_, password) => {
    const person = { ...somebody(), password };
    const answer = await callerOf().call(createUser, person);
    expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'password' }] });
    expect(await countOf('username = $1', person.username)).toBe(0);
  });

  it.each([
    "Zoë O'Brien",
    'Jean-Luc St. John',
    'Лев Толстой',
    'محمد بن سلمان',
    '山田 太郎',
    'Νίκος Καζαντζάκης',
    'सुब्रह्मण्यन् चन्द्रशेखर',
    'Nguyễn Thị Minh Khai',
    'ก้องเกียรติ สุขใจ',
    '𠮷野 家',
    '名'.repeat(100),
  ])('the name %s is kept as it is', async (fullName) => {
    const person = { ...somebody(), fullName };
    const answer = await callerOf().call(createUser, person);
    expect(answer.response?.user?.fullName).toBe(fullName);
    const [row] = await waybill.database.query<{ full_name: string }>('SELECT full_name FROM users WHERE username = $1', [person.username]);
    expect(row?.full_name).toBe(fullName);
  });

  it('a name full of HTML is refused, together with everything else that is wrong', async () => {
    const answer = await callerOf().call(createUser, {
      username: 'A!',
      fullName: '<script>alert("1")</script>'.repeat(4),
      email: 'no address',
      password: 'short',
    });
    expect(answer.code).toBe(Code.INVALID_ARGUMENT);
    // Too long and of the wrong characters are two violations of one field.
    expect(answer.violations.map(({ field }) => field).sort()).toEqual([
      'email',
      fullNameField,
      fullNameField,
      'password',
      'username',
      'username',
    ]);
    expect(JSON.stringify(answer)).not.toContain('alert');
  });

  it('whatever is missing is told at once', async () => {
    const answer = await callerOf().call(createUser, {});
    expect(answer.code).toBe(Code.INVALID_ARGUMENT);
    expect(new Set(answer.violations.map(({ field }) => field))).toEqual(new Set(['username', fullNameField, 'email', 'password']));
  });
});

describe('bodies that are no request', () => {
  const path = httpPath(createUser);
  const valid = () => JSON.stringify(somebody());
  const invalidUtf8 = () => Buffer.concat([Buffer.from('{"username":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]);

  it.each([
    ['nothing', () => '', 'application/json', Code.INVALID_ARGUMENT],
    ['broken JSON', () => valid().slice(0, -5), 'application/json', Code.INVALID_ARGUMENT],
    ['an array', () => `[${valid()}]`, 'application/json', Code.INVALID_ARGUMENT],
    ['null', () => 'null', 'application/json', Code.INVALID_ARGUMENT],
    ['wrong types', () => '{"username":7,"fullName":[],"email":{},"password":true}', 'application/json', Code.INVALID_ARGUMENT],
    ['invalid UTF-8', invalidUtf8, 'application/json', Code.INVALID_ARGUMENT],
    ['a lone surrogate', () => valid().replace('Zoë', String.raw`\ud800`), 'application/json', Code.INVALID_ARGUMENT],
    ['a NUL', () => valid().replace('pass-', String.raw`pass-\u0000`), 'application/json', Code.INVALID_ARGUMENT],
    ['deep nesting', () => `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`, 'application/json', Code.INVALID_ARGUMENT],
    ['deep arrays in a field', () => `{"username":${'['.repeat(20_000)}${']'.repeat(20_000)}}`, 'application/json', Code.INVALID_ARGUMENT],
    ['another content type', valid, 'text/plain', Code.INVALID_ARGUMENT],
    ['a form', () => 'username=abc', 'application/x-www-form-urlencoded', Code.INVALID_ARGUMENT],
  ])('%s', async (_, body, contentType, code) => {
    const response = await waybill.fetch(path, { method: 'POST', headers: { 'content-type': contentType }, body: body() });
    expect((await readHttpError(response)).code).toBe(code);
  });

  it.each([
    ['that says it has 10 MB', { 'content-length': String(10 << 20) }],
    ['that does not say how long it is', { 'transfer-encoding': 'chunked' }],
  ])('a body %s is refused before it has come', async (_, headers) => {
    const { hostname, port } = new URL(waybill.http.origin);
    const request = httpRequest({ hostname, port, path, method: 'POST', headers: { 'content-type': 'application/json', ...headers } });
    const answered = once(request, 'response');
    // Never more than a little above what is accepted, and never the end of it: only a refusal can answer this.
    request.write(`{"username":"${'x'.repeat(66_000)}`);
    const [response] = (await answered) as [IncomingMessage];
    expect([response.statusCode, JSON.parse(await text(response))]).toEqual([
      413,
      expect.objectContaining({ code: Code.RESOURCE_EXHAUSTED }),
    ]);
    request.on('error', () => undefined).destroy();
  });

  it('fields that nobody knows are ignored, and both spellings are read', async () => {
    const { username, fullName, email, password } = somebody();
    const response = await waybill.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body: JSON.stringify({ username, full_name: fullName, email, password, isAdmin: true, isEmailVerified: true, created_at: 'never' }),
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ user: { username, fullName, email, isEmailVerified: false } });
  });
});

it('no input was an unexpected error, and nothing was logged above a warning', () => {
  expect(waybill.lines.filter(({ level }) => level >= 40)).toEqual([]);
});
