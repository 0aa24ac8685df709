import { randomBytes } from 'node:crypto';
import { SessionService, UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { accountByMail, logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { changeEmail, createUser, deleteUser, requestPasswordReset, resetPassword, verifyEmail } = UserService.method;
const { createSession } = SessionService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres', { environment: { TRUST_PROXY: 'loopback' } });
  await waybill.retryQuickly();
});
afterAll(async () => {
  // Its mails are not to be cut off in the middle.
  await waybill?.idle();
  await waybill?.close();
});

const from = (client: string) => ({ 'x-forwarded-for': client });
const idOf = async ({ username }: { username: string }) =>
  (await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [username]))[0]?.id;

/** In which tables a text stands, whatever its case. */
async function tablesWith(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of await waybill.database.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  )) {
    const rows = await waybill.database.query(`SELECT FROM "${name}" t WHERE position(lower($1) IN lower(row_to_json(t)::text)) > 0`, [
      text,
    ]);
    if (rows.length > 0) found.push(name);
  }
  return found;
}

describe.each(['http', 'grpc'] as const)('an account, over %s', (transport) => {
  it('is deleted with all that is personal; its sessions and links end, its owner is told, and only events stay', async () => {
    const letters = [...randomBytes(12)].map((byte) => String.fromCharCode(97 + (byte % 26))).join('');
    const person = await accountByMail(waybill, { ...somebody(), fullName: `Ada ${letters}` });
    const [here, elsewhere] = [
      (await logIn(waybill[transport], person)).headers,
      (await logIn(waybill.http, { ...person, login: person.email })).headers,
    ];
    const newEmail = somebody().email;
    await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, here);
    await waybill.http.call(requestPasswordReset, { email: person.email });
    const [reset, change] = [await waybill.mail.mailTo(person.email, 2), await waybill.mail.mailTo(newEmail)];
    await waybill.idle();
    const userId = (await idOf(person))!;

    const answer = await waybill[transport].call(deleteUser, { currentPassword: person.password }, { ...here, ...from('192.0.2.66') });
    expect(answer.code).toBe(Code.OK);
    const farewell = await waybill.mail.mailTo(person.email, 3);
    expect(farewell.subject).toBe('Your account was deleted');
    expect(farewell.text).toContain(person.username);
    await waybill.idle();
    for (const text of [person.username, person.email, person.fullName, newEmail]) expect(await tablesWith(text)).toEqual([]);
    // A task that is known for a minute longer, so that no other one is made, has the id too, which leads to nobody.
    expect((await tablesWith(userId)).filter((table) => table !== 'task')).toEqual(['account_event']);
    const events = await waybill.database.query<{ kind: string; client: string | null; days: number }>(
      `SELECT kind, client, round(extract(epoch FROM expires_at - created_at) / 86400)::int AS days FROM account_event WHERE user_id = $1 ORDER BY id`,
      [userId],
    );
    expect(events.at(-1)).toEqual({ kind: 'user_deleted', client: '192.0.2.66', days: 90 });
    expect(events.length).toBeGreaterThan(4);
    expect(new Set(events.slice(0, -1).map(({ client }) => client))).toEqual(new Set([null]));

    for (const headers of [here, elsewhere]) {
      for (const caller of waybill.callers) {
        expect((await caller.call(deleteUser, { currentPassword: person.password }, headers)).code).toBe(Code.UNAUTHENTICATED);
      }
    }
    expect((await waybill[transport].call(createSession, { login: person.username, password: person.password })).code).toBe(
      Code.UNAUTHENTICATED,
    );
    const newPassword = 'a new and better one';
    expect((await waybill[transport].call(resetPassword, { token: reset.token, newPassword })).code).toBe(Code.FAILED_PRECONDITION);
    expect((await waybill[transport].call(verifyEmail, { token: change.token })).code).toBe(Code.FAILED_PRECONDITION);
    // The username and the address are free again.
    expect((await waybill[transport].call(createUser, person)).code).toBe(Code.OK);
    await waybill.mail.mailTo(person.email, 4);
  });

  it('is deleted with its password alone, and by whoever is signed in', async () => {
    const person = await accountByMail(waybill);
    const headers = (await logIn(waybill[transport], person)).headers;
    expect((await waybill[transport].call(deleteUser, { currentPassword: person.password })).code).toBe(Code.UNAUTHENTICATED);
    expect(await waybill[transport].call(deleteUser, { currentPassword: 'wrong password' }, headers)).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      violations: [{ field: transport === 'http' ? 'currentPassword' : 'current_password', description: 'is not your password' }],
    });
    expect(await idOf(person)).toBeDefined();
  });
});

it('twenty deletions at the same instant delete once, and mail once', async () => {
  const person = await accountByMail(waybill);
  const headers = (await logIn(waybill.http, person)).headers;
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => waybill.callers[index % 2]!.call(deleteUser, { currentPassword: person.password }, headers)),
  );
  const codes = answers.map(({ code }) => code);
  expect(codes.filter((code) => code === Code.OK)).toHaveLength(1);
  expect(new Set(codes)).toEqual(new Set([Code.OK, Code.UNAUTHENTICATED]));
  await waybill.mail.mailTo(person.email, 2);
  await waybill.idle();
  expect(waybill.mail.mailsTo(person.email)).toHaveLength(2);
});

it('the last mail goes out although the mail server fails at first, under one Message-ID, and its address is forgotten then', async () => {
  const person = await accountByMail(waybill);
  const headers = (await logIn(waybill.http, person)).headers;
  waybill.mail.when(person.email, { refuse: 451, at: 'data' });
  await waybill.grpc.call(deleteUser, { currentPassword: person.password }, headers);
  await eventually(() => waybill.mail.triesTo(person.email).length >= 3);
  expect(await tablesWith(person.email)).toEqual(['account_notice']);
  waybill.mail.when(person.email, 'accept');
  await waybill.mail.mailTo(person.email, 2);
  await waybill.idle();
  const [, ...tries] = waybill.mail.triesTo(person.email);
  expect(new Set(tries.map(({ mail }) => mail?.messageId)).size).toBe(1);
  expect(await tablesWith(person.email)).toEqual([]);
});
