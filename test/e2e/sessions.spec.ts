import { randomBytes } from 'node:crypto';
import { SessionService, UserService } from '@app/contract';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, generateKeyPair, type JSONWebKeySet, jwtVerify, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withClockShiftedBy } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { account, type LoggedIn, logIn, signedIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { createUser, getUser } = UserService.method;
const { createSession } = SessionService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres', { environment: { TRUST_PROXY: 'loopback' } });
  await waybill.startApi();
});
afterAll(() => waybill?.close());

const keySet = async () => (await (await waybill.fetch('/.well-known/jwks.json')).json()) as JSONWebKeySet;
const from = (client: string) => ({ 'x-forwarded-for': client });
const WRONG = { code: Code.UNAUTHENTICATED, reason: 'LOGIN_OR_PASSWORD_WRONG', message: 'the login or the password is wrong' };

describe.each(['http', 'grpc'] as const)('logging in, over %s', (transport) => {
  it.each(['username', 'email'] as const)('goes by %s, without regard to case, and begins a session', async (field) => {
    const person = await account(waybill);
    const answer = await waybill[transport].call(
      createSession,
      { login: person[field].toUpperCase(), password: person.password },
      { ...from('192.0.2.9'), 'user-agent': 'Test/1.0' },
    );
    expect(answer.code).toBe(Code.OK);
    const { session, tokens, user } = answer.response!;
    expect(user).toMatchObject({ username: person.username, email: person.email, isEmailVerified: true, roles: [] });
    expect(session).toMatchObject({ clientAddress: '192.0.2.9', isCurrent: true });
    expect(session!.userAgent).toContain(transport === 'http' ? 'Test/1.0' : 'grpc-node-js');
    expect(session!.expiresAt!.seconds - session!.createdAt!.seconds).toBe(BigInt(30 * 86_400));
    expect(tokens!.accessTokenLifetime!.seconds).toBe(900n);
    const me = await waybill[transport].call(getUser, {}, signedIn(tokens!));
    expect(me.response?.user).toMatchObject({ username: person.username, fullName: person.fullName });
    // Whoever has no session writes the scheme in small letters, too.
    expect((await waybill[transport].call(getUser, {}, { authorization: `bearer ${tokens!.accessToken}` })).code).toBe(Code.OK);
  });

  it('answers every wrong pair alike: nobody, a wrong password, another address, no words at all', async () => {
    const person = await account(waybill);
    const waiting = somebody();
    await waybill.http.call(createUser, waiting);
    for (const [login, password] of [
      [person.username, 'wrong'],
      [person.email, 'wrong'],
      [`${person.username}x`, person.password],
      [`x${person.email}`, person.password],
      [waiting.username, 'wrong'],
      [waiting.email, 'wrong'],
      ["' OR 1=1 --", "' OR 1=1 --"],
    ] as const) {
      const answer = await waybill[transport].call(createSession, { login, password }, from('192.0.2.10'));
      expect(answer).toMatchObject(WRONG);
      const line = await waybill.api.line(({ msg, requestId }) => msg === 'call' && requestId === answer.requestId);
      expect(line).toMatchObject({ rpc: 'account.v1.SessionService/CreateSession', code: 'UNAUTHENTICATED', client: '192.0.2.10' });
    }
    const empty = await waybill[transport].call(createSession, {});
    expect([empty.code, empty.violations.map(({ field }) => field)]).toEqual([Code.INVALID_ARGUMENT, ['login', 'password']]);
  });

  it('tells that the address is not verified only to whoever has the password', async () => {
    const person = somebody();
    await waybill.http.call(createUser, person);
    const { username, email, password } = person;
    expect(await waybill[transport].call(createSession, { login: username, password })).toMatchObject({
      code: Code.FAILED_PRECONDITION,
      reason: 'EMAIL_NOT_VERIFIED',
    });
    expect(await waybill[transport].call(createSession, { login: username, password: `${password}x` })).toMatchObject(WRONG);
    // By the address it would tell whoever signs up with it whether an account has it.
    expect(await waybill[transport].call(createSession, { login: email, password })).toMatchObject(WRONG);
    // A sign-up that is over holds nothing.
    await waybill.database.query(`UPDATE users SET created_at = now() - interval '25 hours' WHERE username = $1`, [username]);
    expect(await waybill[transport].call(createSession, { login: username, password })).toMatchObject(WRONG);
  });

  it('takes as long for nobody as for somebody with a wrong password', async () => {
    const person = await account(waybill);
    const took = async (login: string) => {
      const startedAt = performance.now();
      expect(await waybill[transport].call(createSession, { login, password: 'wrong' })).toMatchObject(WRONG);
      return performance.now() - startedAt;
    };
    const pairs: [number, number][] = [];
    for (let times = 0; times < 15; times++) pairs.push([await took(person.username), await took(`nobody_${times}`)]);
    const ratio = pairs.map(([somebody, nobody]) => nobody / somebody).sort((a, b) => a - b)[7]!;
    // Without a hash it would be a tenth.
    expect(ratio).toBeGreaterThan(0.7);
    expect(ratio).toBeLessThan(1.4);
  });

  it('is named in the line of its call, with the client, once it is known who it is; and in an event', async () => {
    const person = await account(waybill);
    const [{ id }] = (await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [person.username])) as [
      { id: string },
    ];
    const ok = await waybill[transport].call(
      createSession,
      { login: person.username, password: person.password },
      { ...from('192.0.2.10') },
    );
    const line = await waybill.api.line(({ msg, requestId }) => msg === 'call' && requestId === ok.requestId);
    expect(line).toMatchObject({ userId: id, client: '192.0.2.10', rpc: 'account.v1.SessionService/CreateSession' });
    const me = await waybill[transport].call(getUser, {}, { ...signedIn(ok.response!.tokens!), ...from('192.0.2.11') });
    expect(await waybill.api.line(({ msg, requestId }) => msg === 'call' && requestId === me.requestId)).toMatchObject({
      userId: id,
      client: '192.0.2.11',
    });
    const wrong = await waybill[transport].call(createSession, { login: person.username, password: 'wrong' });
    const wrongLine = await waybill.api.line(({ msg, requestId }) => msg === 'call' && requestId === wrong.requestId);
    expect(wrongLine).not.toHaveProperty('userId');
    expect(
      await waybill.database.query(`SELECT client, session_id AS "sessionId" FROM account_event WHERE user_id = $1 AND kind = $2`, [
        id,
        'session_created',
      ]),
    ).toEqual([{ client: '192.0.2.10', sessionId: ok.response!.session!.id }]);
  });

  it('begins a hundred sessions a person at most: one more ends the one that was unused for longest', async () => {
    const person = await account(waybill);
    const first = await logIn(waybill[transport], person);
    await waybill.database.query(
      `INSERT INTO session (id, user_id, refresh_digest, client, user_agent, used_at, expires_at)
       SELECT gen_random_uuid(), user_id, refresh_digest, '', '', now() + interval '1 minute', now() + interval '1 day'
       FROM session, generate_series(1, 99) WHERE id = $1`,
      [first.sessionId],
    );
    const last = await logIn(waybill[transport], person);
    expect(await waybill[transport].call(getUser, {}, first.headers)).toMatchObject({
      code: Code.UNAUTHENTICATED,
      reason: 'SESSION_ENDED',
    });
    expect((await waybill[transport].call(getUser, {}, last.headers)).code).toBe(Code.OK);
  });
});

describe.each(['http', 'grpc'] as const)('a call that is for whoever is signed in, over %s', (transport) => {
  const refused = (reason: string) => ({ code: Code.UNAUTHENTICATED, reason });

  it('is refused without a token, and with what is none', async () => {
    expect(await waybill[transport].call(getUser, {})).toMatchObject(refused('ACCESS_TOKEN_MISSING'));
    for (const authorization of ['Bearer', 'Bearer a b', 'Basic YTpi']) {
      expect(await waybill[transport].call(getUser, {}, { authorization })).toMatchObject(refused('ACCESS_TOKEN_MISSING'));
    }
    for (const authorization of ['Bearer x', 'Bearer a.b.c', `Bearer ${'x'.repeat(4_000)}`]) {
      expect(await waybill[transport].call(getUser, {}, { authorization })).toMatchObject(refused('ACCESS_TOKEN_INVALID'));
    }
  });

  it('is refused with a token that somebody else signed, changed, or issued for another use', async () => {
    const { tokens } = await logIn(waybill[transport], await account(waybill));
    const claims = decodeJwt(tokens.accessToken);
    const { kid } = decodeProtectedHeader(tokens.accessToken);
    const [head, body, signature] = tokens.accessToken.split('.') as [string, string, string];
    const encode = (json: object) => Buffer.from(JSON.stringify(json)).toString('base64url');
    const { privateKey } = await generateKeyPair('ES256');
    const forged = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: kid! }).sign(privateKey);
    const byNobody = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'none' }).sign(privateKey);
    // With the public key, which everybody has, as a secret.
    const bySecret = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt', kid: kid! })
      .sign(Buffer.from(JSON.stringify((await keySet()).keys[0])));
    for (const token of [
      forged,
      byNobody,
      bySecret,
      `${encode({ alg: 'none', typ: 'at+jwt', kid })}.${body}.`,
      `${head}.${encode({ ...claims, roles: ['operator'] })}.${signature}`,
      `${head}.${body}.${signature.slice(0, -4)}AAAA`,
      tokens.refreshToken,
    ]) {
      expect(await waybill[transport].call(getUser, {}, signedIn({ accessToken: token }))).toMatchObject(refused('ACCESS_TOKEN_INVALID'));
    }
    expect((await waybill[transport].call(getUser, {}, signedIn(tokens))).code).toBe(Code.OK);
  });

  it('is refused to whom it belongs no more: the session has ended, its time is over, or the person is deleted', async () => {
    const person = await account(waybill);
    for (const end of [
      'DELETE FROM session WHERE id = $1',
      `UPDATE session SET expires_at = now() - interval '1 second' WHERE id = $1`,
      'DELETE FROM users WHERE id = (SELECT user_id FROM session WHERE id = $1)',
    ]) {
      const { headers, sessionId } = await logIn(waybill[transport], person);
      expect((await waybill[transport].call(getUser, {}, headers)).code).toBe(Code.OK);
      await waybill.database.query(end, [sessionId]);
      expect(await waybill[transport].call(getUser, {}, headers)).toMatchObject(refused('SESSION_ENDED'));
    }
  });
});

it('an HTTP answer without a token says which credentials would help', async () => {
  const answer = await waybill.fetch('/v1/users/me');
  expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="waybill"']);
});

describe('an access token', () => {
  it('can be checked by others, with the keys that are published; nothing of it is personal', async () => {
    const person = await account(waybill);
    const { tokens, sessionId } = await logIn(waybill.http, person);
    const answer = await waybill.fetch('/.well-known/jwks.json');
    expect(answer.headers.get('content-type')).toMatch(/^application\/jwk-set\+json/);
    expect(answer.headers.get('cache-control')).toBe('public, max-age=300');
    const set = (await answer.json()) as JSONWebKeySet;
    expect(set.keys.map(({ d }) => d)).toEqual(set.keys.map(() => undefined));
    const { payload, protectedHeader } = await jwtVerify(tokens.accessToken, createLocalJWKSet(set), {
      issuer: waybill.environment['PUBLIC_URL']!.replace(/\/$/, ''),
      audience: 'waybill',
      typ: 'at+jwt',
    });
    expect(protectedHeader.alg).toBe('ES256');
    expect(payload).toMatchObject({ sid: sessionId, roles: [], client_id: 'waybill' });
    expect(payload.exp! - payload.iat!).toBe(900);
    for (const secret of [person.username, person.email, person.fullName]) expect(JSON.stringify(payload)).not.toContain(secret);
  });

  it('is good for as long as it says, and a minute more, on an api whose clock is wrong', async () => {
    const { headers } = await logIn(waybill.grpc, await account(waybill));
    try {
      for (const [minutes, code] of [
        [-1, Code.OK],
        [1, Code.OK],
        [15.5, Code.OK],
        [16.5, Code.UNAUTHENTICATED],
      ] as const) {
        await waybill.api.stop();
        await waybill.startApi(withClockShiftedBy(minutes * 60_000));
        for (const caller of waybill.callers) {
          expect((await caller.call(getUser, {}, headers)).code, `${minutes} minutes on ${caller.transport}`).toBe(code);
        }
      }
      expect(await waybill.http.call(getUser, {}, headers)).toMatchObject({ reason: 'ACCESS_TOKEN_EXPIRED' });
    } finally {
      await waybill.api.stop();
      await waybill.startApi();
    }
  });
});

describe('the keys', () => {
  /** Runs a periodic task now. */
  async function runNow(type: string) {
    const due = () => waybill.database.query('UPDATE task_schedule SET next_at = now() WHERE type = $1 RETURNING type', [type]);
    await eventually(async () => (await due()).length === 1);
  }

  it('are a ring: a new one is published before it signs, the old one after it has, and nobody is logged out', async () => {
    const person = await account(waybill);
    const kidOf = ({ tokens }: LoggedIn) => decodeProtectedHeader(tokens.accessToken).kid!;
    const restart = async () => {
      await waybill.api.stop();
      await waybill.startApi();
    };
    const before = await logIn(waybill.http, person);
    const [old] = (await keySet()).keys.map(({ kid }) => kid!);
    // As the daily task finds it a month later.
    await waybill.database.query(`UPDATE signing_key SET created_at = now() - interval '31 days'`);
    const worker = await waybill.startWorker();
    try {
      await runNow('account.rotate_signing_keys');
      await eventually(async () => (await waybill.database.query('SELECT id FROM signing_key')).length === 2);
      // An api looks once a minute; one that has just begun knows it at once.
      await restart();
      const published = (await keySet()).keys.map(({ kid }) => kid!);
      expect(published).toContain(old);
      const fresh = published.find((kid) => kid !== old)!;
      expect(kidOf(await logIn(waybill.http, person))).toBe(old);

      await waybill.database.query(`UPDATE signing_key SET created_at = now() - interval '11 minutes' WHERE id = $1`, [fresh]);
      await restart();
      const after = await logIn(waybill.grpc, person);
      expect(kidOf(after)).toBe(fresh);
      for (const { headers } of [before, after]) {
        for (const caller of waybill.callers) expect((await caller.call(getUser, {}, headers)).code).toBe(Code.OK);
      }

      await waybill.database.query(`UPDATE signing_key SET created_at = now() - interval '25 hours' WHERE id = $1`, [fresh]);
      await runNow('account.rotate_signing_keys');
      await eventually(async () => (await waybill.database.query('SELECT id FROM signing_key')).length === 1);
      await restart();
      for (const caller of waybill.callers) {
        expect(await caller.call(getUser, {}, before.headers)).toMatchObject({
          code: Code.UNAUTHENTICATED,
          reason: 'ACCESS_TOKEN_INVALID',
        });
        expect((await caller.call(getUser, {}, after.headers)).code).toBe(Code.OK);
      }
    } finally {
      await worker.stop();
    }
  });

  it('that were encrypted under another SECRET_KEY sign nothing, and still check', async () => {
    const person = await account(waybill);
    const before = await logIn(waybill.http, person);
    await waybill.api.stop();
    await waybill.startApi({
      SECRET_KEY: randomBytes(32).toString('base64'),
    });
    try {
      const after = await logIn(waybill.http, person);
      expect(decodeProtectedHeader(after.tokens.accessToken).kid).not.toBe(decodeProtectedHeader(before.tokens.accessToken).kid);
      for (const { headers } of [before, after]) expect((await waybill.grpc.call(getUser, {}, headers)).code).toBe(Code.OK);
    } finally {
      await waybill.api.stop();
      await waybill.startApi();
    }
  });

  it('are kept encrypted', async () => {
    await logIn(waybill.http, await account(waybill));
    const rows = await waybill.database.query<{ text: string }>(`SELECT encode(private_key, 'escape') AS text FROM signing_key`);
    expect(rows.length).toBeGreaterThan(0);
    for (const { text } of rows) expect(text).not.toMatch(/"d"|kty/);
  });
});
