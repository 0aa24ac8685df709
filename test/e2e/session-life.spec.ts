import { SessionService, UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { account, type LoggedIn, logIn, signedIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { getUser, updateUser, changePassword, requestPasswordReset, resetPassword } = UserService.method;
const { createSession, refreshSession, listSessions, deleteSession, deleteOtherSessions } = SessionService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres', { environment: { TRUST_PROXY: 'loopback' } });
  await Promise.all([waybill.startApi(), waybill.startWorker()]);
});
afterAll(() => waybill?.close());

const from = (client: string) => ({ 'x-forwarded-for': client });
const NOT_GOOD = { code: Code.UNAUTHENTICATED, reason: 'REFRESH_TOKEN_INVALID' };
const ENDED = { code: Code.UNAUTHENTICATED, reason: 'SESSION_ENDED' };
const eventsOf = async ({ person }: LoggedIn) =>
  (
    await waybill.database.query<{ kind: string }>(
      `SELECT kind FROM account_event JOIN users ON users.id = user_id WHERE username = $1 AND kind NOT IN ('signed_up', 'session_created') ORDER BY account_event.id`,
      [person.username],
    )
  ).map(({ kind }) => kind);

/** Lets time pass for the tokens that a session has used. */
const passTime = ({ sessionId }: LoggedIn, interval = '11 seconds') =>
  waybill.database.query(`UPDATE session SET rotated_at = ARRAY(SELECT at - $2::interval FROM unnest(rotated_at) AS at) WHERE id = $1`, [
    sessionId,
    interval,
  ]);
const noticesTo = (email: string) => waybill.mail.mailsTo(email).map(({ subject }) => subject);

describe.each(['http', 'grpc'] as const)('refreshing, over %s', (transport) => {
  const refresh = (refreshToken: string, headers = {}) => waybill[transport].call(refreshSession, { refreshToken }, headers);
  const begun = async () => logIn(waybill[transport], await account(waybill));
  const tokensOf = async (refreshToken: string) => {
    const answer = await refresh(refreshToken);
    expect(answer).toMatchObject({ code: Code.OK });
    return answer.response!.tokens!;
  };

  it('gives a new pair, and the session lives on; the old access token has its time', async () => {
    const session = await begun();
    const answer = await refresh(session.tokens.refreshToken, from('192.0.2.20'));
    expect(answer).toMatchObject({ code: Code.OK });
    const { tokens, session: refreshed } = answer.response!;
    expect(tokens!.refreshToken).not.toBe(session.tokens.refreshToken);
    expect(refreshed).toMatchObject({ id: session.sessionId, clientAddress: '192.0.2.20', isCurrent: true });
    for (const headers of [signedIn(tokens!), session.headers]) {
      expect((await waybill[transport].call(getUser, {}, headers)).code).toBe(Code.OK);
    }
    // Again and again, without a pause.
    let { refreshToken } = tokens!;
    for (let times = 0; times < 20; times++) {
      const next = (await tokensOf(refreshToken)).refreshToken;
      expect(next).not.toBe(refreshToken);
      refreshToken = next;
    }
    const line = await waybill.api.line(({ msg, requestId }) => msg === 'call' && requestId === answer.requestId);
    expect(line).toMatchObject({ client: '192.0.2.20', userId: expect.any(String) as string });
  });

  it('of two at one instant, both succeed with the same successor; so does one whose answer was lost', async () => {
    const session = await begun();
    const answers = await Promise.all(Array.from({ length: 8 }, () => tokensOf(session.tokens.refreshToken)));
    const successors = new Set(answers.map(({ refreshToken }) => refreshToken));
    expect(successors.size).toBe(1);
    const [successor] = [...successors] as [string];
    const second = await tokensOf(successor);
    // Two steps behind, and still within the time.
    expect((await tokensOf(session.tokens.refreshToken)).refreshToken).toBe(second.refreshToken);
    for (const { accessToken } of answers) {
      expect((await waybill[transport].call(getUser, {}, signedIn({ accessToken }))).code).toBe(Code.OK);
    }
    await passTime(session, '9 seconds');
    expect((await tokensOf(successor)).refreshToken).toBe(second.refreshToken);
    expect(await eventsOf(session)).toEqual([]);
  });

  it('with a stolen token after its owner ends the session, and the owner is told by mail', async () => {
    const session = await begun();
    const other = await logIn(waybill[transport], session.person);
    let { refreshToken } = session.tokens;
    for (let times = 0; times < 20; times++) ({ refreshToken } = await tokensOf(refreshToken));
    await passTime(session);
    expect(await refresh(session.tokens.refreshToken)).toMatchObject(NOT_GOOD);
    expect(await refresh(refreshToken)).toMatchObject(NOT_GOOD);
    expect(await waybill[transport].call(getUser, {}, session.headers)).toMatchObject(ENDED);
    expect((await waybill[transport].call(getUser, {}, other.headers)).code).toBe(Code.OK);
    await eventually(() => noticesTo(session.person.email).includes('You were logged out, for safety'));
    expect(await eventsOf(session)).toEqual(['refresh_token_reused']);
    // Once more says nothing more.
    expect(await refresh(session.tokens.refreshToken)).toMatchObject(NOT_GOOD);
    expect(await eventsOf(session)).toEqual(['refresh_token_reused']);
  });

  it('with a stolen token before its owner ends the session when the owner comes', async () => {
    const session = await begun();
    const thief = await tokensOf(session.tokens.refreshToken);
    await passTime(session);
    expect(await refresh(session.tokens.refreshToken)).toMatchObject(NOT_GOOD);
    expect(await refresh(thief.refreshToken)).toMatchObject(NOT_GOOD);
    expect(await waybill[transport].call(getUser, {}, signedIn(thief))).toMatchObject(ENDED);
    await eventually(() => noticesTo(session.person.email).includes('You were logged out, for safety'));
  });

  it('with a token that somebody made up ends nobody', async () => {
    const session = await begun();
    const { refreshToken } = session.tokens;
    const bytes = Buffer.from(refreshToken, 'base64url');
    const changed = (at: number) => {
      const copy = Buffer.from(bytes);
      copy[at] = copy[at]! ^ 1;
      return copy.toString('base64url');
    };
    await tokensOf(refreshToken);
    await passTime(session);
    // Of the session, its number, its secret, its seal; and what is none at all.
    for (const token of [
      changed(0),
      changed(19),
      changed(30),
      changed(67),
      'x',
      'x'.repeat(91),
      refreshToken.slice(1),
      `${refreshToken}A`,
      session.tokens.accessToken,
    ]) {
      expect(await refresh(token)).toMatchObject(NOT_GOOD);
    }
    expect((await waybill[transport].call(getUser, {}, session.headers)).code).toBe(Code.OK);
    expect(await eventsOf(session)).toEqual([]);
  });

  it('is over 30 days after the last time, and 90 after the log-in', async () => {
    const fresh = (await refresh((await begun()).tokens.refreshToken)).response!.session!;
    expect(fresh.expiresAt!.seconds - fresh.lastUsedAt!.seconds).toBe(BigInt(30 * 86_400));
    const session = await begun();
    await waybill.database.query(
      `UPDATE session SET created_at = now() - interval '70 days', expires_at = now() + interval '1 minute' WHERE id = $1`,
      [session.sessionId],
    );
    const answer = await refresh(session.tokens.refreshToken);
    const { createdAt, expiresAt } = answer.response!.session!;
    expect(expiresAt!.seconds - createdAt!.seconds).toBe(BigInt(90 * 86_400));
    await waybill.database.query(`UPDATE session SET expires_at = now() WHERE id = $1`, [session.sessionId]);
    expect(await refresh(answer.response!.tokens!.refreshToken)).toMatchObject(NOT_GOOD);
  });
});

describe.each(['http', 'grpc'] as const)('sessions, over %s', (transport) => {
  const caller = () => waybill[transport];

  it('are listed with where and when, and which is this one; nobody sees those of others', async () => {
    const person = await account(waybill);
    const first = await logIn(caller(), person, from('192.0.2.30'));
    const second = await logIn(caller(), person, from('2001:db8::1'));
    await logIn(caller(), await account(waybill));
    const { response } = await caller().call(listSessions, {}, first.headers);
    expect(response!.sessions.map(({ id, clientAddress, isCurrent }) => [id, clientAddress, isCurrent])).toEqual([
      [second.sessionId, '2001:db8::1', false],
      [first.sessionId, '192.0.2.30', true],
    ]);
    expect(await caller().call(listSessions, {})).toMatchObject({ code: Code.UNAUTHENTICATED, reason: 'ACCESS_TOKEN_MISSING' });
  });

  it('are ended one by one: this one, another one, but nobody else’s', async () => {
    const person = await account(waybill);
    const [mine, other] = [await logIn(caller(), person), await logIn(caller(), person)];
    const stranger = await logIn(caller(), await account(waybill));
    for (const sessionId of [stranger.sessionId, '00000000-0000-7000-8000-000000000000', 'none']) {
      expect(await caller().call(deleteSession, { sessionId }, mine.headers)).toMatchObject({
        code: Code.NOT_FOUND,
        reason: 'SESSION_NOT_FOUND',
      });
    }
    expect((await caller().call(getUser, {}, stranger.headers)).code).toBe(Code.OK);
    expect((await caller().call(deleteSession, { sessionId: other.sessionId }, mine.headers)).code).toBe(Code.OK);
    expect(await caller().call(getUser, {}, other.headers)).toMatchObject(ENDED);
    expect((await caller().call(deleteSession, { sessionId: 'current' }, mine.headers)).code).toBe(Code.OK);
    expect(await caller().call(getUser, {}, mine.headers)).toMatchObject(ENDED);
    for (const { tokens } of [mine, other]) {
      expect(await caller().call(refreshSession, { refreshToken: tokens.refreshToken })).toMatchObject(NOT_GOOD);
    }
    expect(await eventsOf(mine)).toEqual(['session_deleted', 'session_deleted']);
  });

  it('are ended everywhere but here', async () => {
    const person = await account(waybill);
    const [mine, ...others] = [await logIn(caller(), person), await logIn(caller(), person), await logIn(caller(), person)];
    const answer = await caller().call(deleteOtherSessions, {}, mine.headers);
    expect(answer.response?.deleted).toBe(2);
    for (const { headers } of others) expect(await caller().call(getUser, {}, headers)).toMatchObject(ENDED);
    expect((await caller().call(getUser, {}, mine.headers)).code).toBe(Code.OK);
    expect(await eventsOf(mine)).toEqual(['other_sessions_deleted']);
  });
});

describe('a change of an account as JSON', () => {
  it('names what is wrong within a message, and takes a mask in both spellings', async () => {
    const { headers } = await logIn(waybill.http, await account(waybill));
    const patch = async (query: string, body: object) => {
      const response = await waybill.fetch(`/v1/users/me${query}`, {
        method: 'PATCH',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const answer = (await response.json()) as { user?: { fullName: string }; details?: { fieldViolations?: object[] }[] };
      return answer.user?.fullName ?? answer.details?.find(({ fieldViolations }) => fieldViolations)?.fieldViolations;
    };
    expect(await patch('', { fullName: 'Ada', full_name: 'Grace' })).toEqual([
      { field: 'user.fullName', description: 'is given twice, in both of its spellings' },
    ]);
    expect(await patch('', { fullName: 5 })).toEqual([{ field: 'user.fullName', description: 'must be a string' }]);
    expect(await patch('?update_mask=full_name', { fullName: 'Ada Byron' })).toBe('Ada Byron');
    expect(await patch('?updateMask=fullName', { fullName: 'Ada King' })).toBe('Ada King');
  });
});

describe.each(['http', 'grpc'] as const)('an account, over %s', (transport) => {
  const caller = () => waybill[transport];

  it('has another name, and nothing else of it can be changed', async () => {
    const session = await logIn(caller(), await account(waybill));
    const change = (user: object | undefined, paths?: string[]) =>
      caller().call(updateUser, { ...(user && { user }), ...(paths && { updateMask: { paths } }) }, session.headers);
    const named = await change({ fullName: '  Grace   Hopper ' }, ['full_name']);
    expect(named.response?.user).toMatchObject({ fullName: 'Grace Hopper', username: session.person.username });
    expect((await change({ fullName: 'Ada Lovelace' })).response?.user?.fullName).toBe('Ada Lovelace');
    expect((await change({})).response?.user?.fullName).toBe('Ada Lovelace');
    for (const [user, paths] of [
      [{ fullName: 'X' }, ['username']],
      [{}, ['full_name']],
      [{ fullName: '<script>' }, ['full_name']],
      [{ fullName: 'x'.repeat(101) }, undefined],
    ] as const) {
      expect(await change(user, paths as string[] | undefined)).toMatchObject({ code: Code.INVALID_ARGUMENT });
    }
    expect((await caller().call(getUser, {}, session.headers)).response?.user?.fullName).toBe('Ada Lovelace');
    expect((await eventsOf(session)).every((kind) => kind === 'user_updated')).toBe(true);
  });

  it('has another password: its other sessions end, the old password is none, and its owner is told', async () => {
    const person = await account(waybill);
    const [mine, other] = [await logIn(caller(), person), await logIn(caller(), person)];
    const newPassword = 'a new and better one';
    const change = (currentPassword: string, newPassword: string) =>
      caller().call(changePassword, { currentPassword, newPassword }, mine.headers);
    const fields = async (answer: ReturnType<typeof change>) =>
      (await answer).violations.map(({ field }) => field.replace(/_(.)/, (_, letter: string) => letter.toUpperCase()));
    expect(await change('wrong', newPassword)).toMatchObject({ code: Code.INVALID_ARGUMENT, reason: 'CURRENT_PASSWORD_WRONG' });
    expect(await fields(change(person.password, 'password1'))).toEqual(['newPassword']);
    expect(await fields(change(person.password, person.username))).toEqual(['newPassword']);
    expect(await fields(change(person.password, 'short'))).toEqual(['newPassword']);
    expect((await caller().call(getUser, {}, other.headers)).code).toBe(Code.OK);

    expect(await change(person.password, newPassword)).toMatchObject({ code: Code.OK });
    expect((await caller().call(getUser, {}, mine.headers)).code).toBe(Code.OK);
    expect(await caller().call(getUser, {}, other.headers)).toMatchObject(ENDED);
    const { username: login } = person;
    expect((await caller().call(createSession, { login, password: person.password })).code).toBe(Code.UNAUTHENTICATED);
    expect((await caller().call(createSession, { login, password: newPassword })).code).toBe(Code.OK);
    await eventually(() => noticesTo(person.email).includes('Your password was changed'));
    expect(await eventsOf(mine)).toEqual(['password_changed']);
  });

  it('whose password is changed twice at one instant has one of the two', async () => {
    const person = await account(waybill);
    const mine = await logIn(caller(), person);
    const wanted = ['the first of them', 'the second of them'];
    const codes = await Promise.all(
      wanted.map(
        async (newPassword) => (await caller().call(changePassword, { currentPassword: person.password, newPassword }, mine.headers)).code,
      ),
    );
    expect(codes.filter((code) => code === Code.OK)).toHaveLength(1);
    const { username: login } = person;
    const now = await Promise.all(wanted.map(async (password) => (await caller().call(createSession, { login, password })).code));
    expect(now.map((code) => code === Code.OK)).toEqual(codes.map((code) => code === Code.OK));
  });
});

it('logging in while the password is changed leaves no session that the old one has begun', async () => {
  for (let round = 0; round < 5; round++) {
    const person = await account(waybill);
    const { headers, sessionId } = await logIn(waybill.http, person);
    const logIns = Array.from({ length: 8 }, (_, index) =>
      waybill.callers[index % 2]!.call(createSession, { login: person.username, password: person.password }),
    );
    const change = waybill.grpc.call(changePassword, { currentPassword: person.password, newPassword: `new ${person.password}` }, headers);
    expect((await change).code).toBe(Code.OK);
    for (const { code } of await Promise.all(logIns)) expect([Code.OK, Code.UNAUTHENTICATED]).toContain(code);
    const left = await waybill.database.query<{ id: string }>(
      'SELECT session.id FROM session JOIN users ON users.id = user_id WHERE username = $1',
      [person.username],
    );
    expect(left).toEqual([{ id: sessionId }]);
  }
});

describe('guessing', () => {
  const guess = (index: number, login: string, password: string, client: string) =>
    waybill.callers[index % 2]!.call(createSession, { login, password }, from(client));

  it('many passwords for one account from many sources ends at a hundred, and the owner comes in from where they are at home', async () => {
    const person = await account(waybill);
    const home = await logIn(waybill.http, person, from('192.0.2.40'));
    const codes: Code[] = [];
    for (let round = 0; round < 12; round++) {
      const batch = Array.from({ length: 10 }, async (_, index) => {
        const number = round * 10 + index;
        return (await guess(number, person.username, `guess ${number}`, `198.51.100.${number}`)).code;
      });
      codes.push(...(await Promise.all(batch)));
    }
    expect(codes.filter((code) => code === Code.UNAUTHENTICATED)).toHaveLength(100);
    expect(codes.filter((code) => code === Code.RESOURCE_EXHAUSTED)).toHaveLength(20);
    for (const { transport } of waybill.callers) {
      expect((await waybill[transport].call(getUser, {}, home.headers)).code).toBe(Code.OK);
      const { username: login, password } = person;
      expect((await waybill[transport].call(createSession, { login, password }, from('192.0.2.40'))).code).toBe(Code.OK);
      // From elsewhere not even the right password is listened to now.
      expect((await waybill[transport].call(createSession, { login, password }, from('203.0.113.8'))).code).toBe(Code.RESOURCE_EXHAUSTED);
      // Nobody can tell a login that nobody has by it.
      expect((await waybill[transport].call(createSession, { login: `${login}x`, password }, from('203.0.113.9'))).code).toBe(
        Code.UNAUTHENTICATED,
      );
    }
  });

  it('counts one login as one, however its letters are written', async () => {
    const person = await account(waybill);
    const spelled = [person.email, person.email.toUpperCase(), person.email.replace(/i/g, 'İ'), person.email.replace(/k/g, '\u212a')];
    const guesses = Array.from({ length: 110 }, (_, index) => guess(index, spelled[index % 2]!, `guess ${index}`, `198.51.100.${index}`));
    const codes = (await Promise.all(guesses)).map(({ code }) => code);
    expect(codes.filter((code) => code === Code.RESOURCE_EXHAUSTED)).toHaveLength(10);
    for (const login of spelled.slice(2).filter((login) => login !== person.email)) {
      for (const caller of waybill.callers) {
        // Not even the right password: nobody is called so.
        const answer = await caller.call(createSession, { login, password: person.password }, from('203.0.113.12'));
        expect(answer).toMatchObject({ code: Code.UNAUTHENTICATED, reason: 'LOGIN_OR_PASSWORD_WRONG' });
      }
    }
  });

  it('leaves an owner at home where they have logged in before, also once they have logged out', async () => {
    const person = await account(waybill);
    const { headers } = await logIn(waybill.grpc, person, from('192.0.2.60'));
    expect((await waybill.http.call(deleteSession, { sessionId: 'current' }, headers)).code).toBe(Code.OK);
    const guesses = Array.from({ length: 101 }, (_, index) => guess(index, person.username, `guess ${index}`, `198.51.100.${index}`));
    expect((await Promise.all(guesses)).filter(({ code }) => code === Code.RESOURCE_EXHAUSTED)).toHaveLength(1);
    for (const caller of waybill.callers) await logIn(caller, person, from('192.0.2.60'));
  });

  it('is in the log with the account that it was at', async () => {
    const person = await account(waybill);
    const [user] = await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [person.username]);
    await guess(0, person.username, 'a guess', '198.51.100.7');
    const line = await waybill.api.line(
      ({ msg, ...line }) => msg === 'a wrong password was given for this account' && line['userId'] === user!.id,
    );
    expect(line).toMatchObject({ client: '198.51.100.7', requestId: expect.any(String) as string });
  });

  it('shuts out nobody who sets a new password by the mail, wherever they are', async () => {
    const person = await account(waybill);
    const guesses = Array.from({ length: 101 }, (_, index) => guess(index, person.username, `guess ${index}`, `198.51.100.${index}`));
    expect((await Promise.all(guesses)).filter(({ code }) => code === Code.RESOURCE_EXHAUSTED)).toHaveLength(1);
    expect((await waybill.grpc.call(requestPasswordReset, { email: person.email }, from('203.0.113.7'))).code).toBe(Code.OK);
    const { token } = await eventually(() => waybill.mail.mailsTo(person.email).find(({ link }) => link.includes('/reset-password')));
    const newPassword = `new ${person.password}`;
    expect((await waybill.http.call(resetPassword, { token, newPassword }, from('203.0.113.7'))).code).toBe(Code.OK);
    for (const caller of waybill.callers) await logIn(caller, { ...person, password: newPassword }, from('203.0.113.7'));
  });

  it('one password for many accounts ends at what a source may, and others come in', async () => {
    await waybill.api.stop();
    await waybill.startApi({ LOG_IN_BURST: '20', LOG_INS_PER_MINUTE: '1' });
    try {
      const person = await account(waybill);
      const answers = await Promise.all(
        Array.from({ length: 30 }, (_, index) => guess(index, `somebody_${index}`, 'Winter2026!', '192.0.2.50')),
      );
      const codes = answers.map(({ code }) => code);
      expect(codes.filter((code) => code === Code.UNAUTHENTICATED)).toHaveLength(20);
      expect(codes.filter((code) => code === Code.RESOURCE_EXHAUSTED)).toHaveLength(10);
      for (const caller of waybill.callers) await logIn(caller, person, from('192.0.2.51'));
    } finally {
      await waybill.api.stop();
      await waybill.startApi();
    }
  });
});

it('with Redis away, people log in and out all the same', async () => {
  await waybill.api.stop();
  await waybill.startApi({ REDIS_ADDRESS: 'redis://127.0.0.1:1' });
  const person = await account(waybill);
  for (const caller of waybill.callers) {
    const { headers, tokens } = await logIn(caller, person);
    expect((await caller.call(refreshSession, { refreshToken: tokens.refreshToken })).code).toBe(Code.OK);
    expect((await caller.call(deleteSession, { sessionId: 'current' }, headers)).code).toBe(Code.OK);
  }
});
