import { randomBytes, randomUUID } from 'node:crypto';
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

/** Somebody who has signed up; verified ones by hand, for no mail is sent here. */
async function signedUp({ verified = false, ago = '0 s' } = {}) {
  const person = somebody();
  expect((await waybill.http.call(createUser, person)).code).toBe(Code.OK);
  await waybill.database.query(
    'UPDATE users SET is_email_verified = $2, created_at = created_at - $3::interval, noticed_at = NULL WHERE username = $1',
    [person.username, verified, ago],
  );
  return person;
}

describe.each(['http', 'grpc'] as const)('what is taken, over %s', (transport) => {
  it('a username is ALREADY_EXISTS, and names the field', async () => {
    const first = await signedUp();
    const second = { ...somebody(), username: first.username };
    const answer = await waybill[transport].call(createUser, second);
    expect(answer).toMatchObject({ code: Code.ALREADY_EXISTS, violations: [{ field: 'username', description: answer.message }] });
    expect(answer.message).not.toMatch(DATABASE_WORDS);
    // Nothing of the first person is told, and nothing of theirs has changed.
    expect(JSON.stringify(answer)).not.toContain(first.fullName);
    expect(await countOf('username = $1', second.username)).toBe(1);
    expect(await countOf('email = $1', second.email)).toBe(0);
  });

  it('a username and whatever else is wrong come together', async () => {
    const { username } = await signedUp();
    const answer = await waybill[transport].call(createUser, { ...somebody(), username, password: 'Password1' });
    expect(answer).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      violations: [
        { field: 'username', description: 'this username is taken' },
        { field: 'password', description: 'is one of the most used passwords' },
      ],
    });
  });

  it('a field of any length holds up nobody', async () => {
    const long = `a${'1'.repeat(60_000)}a`;
    const startedAt = performance.now();
    for (const field of [{ fullName: long }, { email: `${long}@example.com` }, { username: long }]) {
      expect((await waybill[transport].call(createUser, { ...somebody(), ...field })).code).toBe(Code.INVALID_ARGUMENT);
    }
    // A pattern that looks at it from each of its characters anew takes 8 s for one.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  it('a username comes together with what breaks the rules of the contract, unless it does so itself', async () => {
    const { username } = await signedUp();
    const request = { ...somebody(), username, email: 'root@localhost', requestId: 'none' };
    const fields = async (request: object) => {
      const answer = await waybill[transport].call(createUser, request);
      expect(answer.code).toBe(Code.INVALID_ARGUMENT);
      return answer.violations.map(({ field }) => field.replace('request_id', 'requestId')).sort();
    };
    expect(await fields(request)).toEqual(['email', 'requestId', 'username']);
    expect(await fields({ ...request, password: `${username}1` })).toEqual(['email', 'password', 'requestId', 'username']);
    expect(await fields({ ...request, username: 'Password1', password: 'password1' })).toEqual([
      'email',
      'password',
      'requestId',
      'username',
    ]);
    expect(await fields({ ...somebody(), username: `\0${username}` })).toContain('username');
  });

  it('an address that somebody has is answered as one that nobody has, with as much work', async () => {
    const known = [await signedUp({ verified: true }), await signedUp()].map(({ email }) => email);
    const emails = [...known, ...known.map((email) => email.toUpperCase()), somebody().email];
    const shapes = new Set<string>();
    for (const email of emails) {
      const { username, fullName, password } = somebody();
      const answer = await waybill[transport].call(createUser, { username, fullName, email, password }, { 'x-request-id': 'same' });
      expect(answer.response?.user).toMatchObject({ username, fullName, email, isEmailVerified: false });
      const { user, ...rest } = answer.response!;
      shapes.add(JSON.stringify({ ...answer, response: { ...rest, user: Object.keys(user!) } }));
      const written = await waybill.database.query(
        `SELECT type, queue, state FROM task JOIN users ON payload->>'userId' = users.id::text WHERE username = $1`,
        [username],
      );
      expect(written).toMatchObject([{ type: 'account.send_verification_email' }]);
    }
    expect(shapes.size).toBe(1);
  });

  it('a sign-up that was not verified within a day has no username any more; a verified account keeps its own', async () => {
    const [young, old, verified] = [
      await signedUp({ ago: '23 h' }),
      await signedUp({ ago: '25 h' }),
      await signedUp({ ago: '25 h', verified: true }),
    ];
    const codes = [];
    for (const { username } of [young, old, verified]) {
      codes.push((await waybill[transport].call(createUser, { ...somebody(), username })).code);
    }
    expect(codes).toEqual([Code.ALREADY_EXISTS, Code.OK, Code.ALREADY_EXISTS]);
    expect(await countOf('email = $1', old.email)).toBe(0);
    expect(await countOf('username = $1', old.username)).toBe(1);
  });
});

describe.each(['http', 'grpc'] as const)('a request with an id, over %s', (transport) => {
  it('that is sent again is answered alike, and signs up once', async () => {
    const request = { ...somebody(), requestId: randomUUID() };
    const answers = [];
    for (const requestId of [request.requestId, request.requestId, request.requestId.toUpperCase()]) {
      answers.push(await waybill[transport].call(createUser, { ...request, requestId }, { 'x-request-id': 'same' }));
    }
    expect(answers[0]?.code).toBe(Code.OK);
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
    expect(await countOf('username = $1', request.username)).toBe(1);
    const tasks = `SELECT FROM task JOIN users ON payload->>'userId' = users.id::text WHERE username = $1`;
    expect(await waybill.database.query(tasks, [request.username])).toHaveLength(1);
  });

  it('that is sent twenty times at once is answered alike, and signs up once', async () => {
    const request = { ...somebody(), requestId: randomUUID() };
    const headers = { 'x-request-id': 'same' };
    const answers = await Promise.all(Array.from({ length: 20 }, () => waybill[transport].call(createUser, request, headers)));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK]));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(await countOf('username = $1', request.username)).toBe(1);
  });

  it('is refused when it is another request, whatever differs, and tells nothing of the first', async () => {
    const request = { ...somebody(), requestId: randomUUID() };
    expect((await waybill.http.call(createUser, request)).code).toBe(Code.OK);
    const other = somebody();
    for (const field of ['username', 'fullName', 'email', 'password'] as const) {
      const value = field === 'fullName' ? 'Somebody Else' : other[field];
      const answer = await waybill[transport].call(createUser, { ...request, [field]: value });
      expect(answer).toMatchObject({
        code: Code.INVALID_ARGUMENT,
        violations: [{ field: transport === 'http' ? 'requestId' : 'request_id', description: 'was used for another sign-up' }],
      });
    }
    expect(await countOf('username = $1', other.username)).toBe(0);
  });

  it('is forgotten after a day', async () => {
    const [first, second] = [somebody(), somebody()];
    const requestId = randomUUID();
    expect((await waybill[transport].call(createUser, { ...first, requestId })).code).toBe(Code.OK);
    await waybill.database.query(`UPDATE users SET is_email_verified = true, created_at = now() - interval '25 h' WHERE username = $1`, [
      first.username,
    ]);
    expect((await waybill[transport].call(createUser, { ...second, requestId })).code).toBe(Code.OK);
  });
});

describe('fifty sign-ups at the same instant, over both transports', () => {
  const race = (people: ReturnType<typeof somebody>[]) =>
    Promise.all(people.map((person, index) => waybill.callers[index % 2]!.call(createUser, person)));
  /** Tasks of people who are not there. */
  const strayTasks = () =>
    waybill.database.query(`SELECT FROM task WHERE NOT EXISTS (SELECT FROM users WHERE users.id = (payload->>'userId')::uuid)`);

  it('for one username: exactly one wins', async () => {
    await waybill.database.query('DELETE FROM task');
    const username = `race_${randomBytes(4).toString('hex')}`;
    const answers = await race(Array.from({ length: 50 }, () => ({ ...somebody(), username })));
    expect(answers.filter(({ code }) => code === Code.OK)).toHaveLength(1);
    for (const answer of answers.filter(({ code }) => code !== Code.OK)) {
      expect(answer).toMatchObject({ code: Code.ALREADY_EXISTS, violations: [{ field: 'username' }] });
      expect(JSON.stringify(answer)).not.toMatch(DATABASE_WORDS);
    }
    expect(await countOf('lower(username) = lower($1)', username)).toBe(1);
    // As many tasks as people: those who lost left none behind.
    expect(await strayTasks()).toEqual([]);
  });

  it('for one address: all of them wait for it', async () => {
    const email = `Race.${randomBytes(4).toString('hex')}@Example.com`;
    // Half of them write the address in capitals: it is the same one.
    const people = Array.from({ length: 50 }, (_, index) => ({ ...somebody(), email: index % 4 < 2 ? email.toUpperCase() : email }));
    expect(new Set((await race(people)).map(({ code }) => code))).toEqual(new Set([Code.OK]));
    expect(await countOf('lower(email) = lower($1) AND NOT is_email_verified', email)).toBe(50);
    expect(await strayTasks()).toEqual([]);
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

  it('a password is hashed in one form, whatever keyboard wrote it', async () => {
    const person = { ...somebody(), password: 'cafe\u0301 et the\u0301' };
    expect((await callerOf().call(createUser, person)).code).toBe(Code.OK);
    const [row] = await waybill.database.query<{ password_hash: string }>('SELECT password_hash FROM users WHERE username = $1', [
      person.username,
    ]);
    expect(await verify(row!.password_hash, 'café et thé')).toBe(true);
  });

  it.each([
    ['129 emoji', '🦊'.repeat(129)],
    ['the most used ones', 'Football1'],
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

  it.each([
    ['with spaces around and between', '  Zoë \u3000\u00A0 O’Brien ', 'Zoë O’Brien'],
    ['with letters and marks apart', 'Zoe\u0308', 'Zoë'],
  ])('a name %s is kept in its one form', async (_, fullName, kept) => {
    const answer = await callerOf().call(createUser, { ...somebody(), fullName });
    expect(answer.response?.user?.fullName).toBe(kept);
  });

  it.each([' ', 'Ada\u200B', 'Ada\u202E', '\u3164'])('the name %j is refused', async (fullName) => {
    const answer = await callerOf().call(createUser, { ...somebody(), fullName });
    expect(answer).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      violations: [{ field: expect.stringMatching(/^full(N|_n)ame$/) as string }],
    });
  });

  it.each(['root@localhost', 'a..b@x.com'])('the address %s is refused', async (email) => {
    const answer = await callerOf().call(createUser, { ...somebody(), email });
    expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'email' }] });
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

it('no input was an unexpected error, nor worth a warning', () => {
  // On a busy machine the database may not answer in time whether it is ready: that is no input's doing.
  expect(waybill.lines.filter(({ level, context }) => level >= 40 && context !== 'Readiness')).toEqual([]);
});
