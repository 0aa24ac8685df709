import { SessionService, UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { accountByMail, logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { changeEmail, changePassword, createUser, deleteUser, requestPasswordReset, resetPassword, verifyEmail } = UserService.method;
const { createSession } = SessionService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres');
  await waybill.retryQuickly();
});
afterAll(async () => {
  // Its mails are not to be cut off in the middle.
  await waybill?.idle();
  await waybill?.close();
});

/** Somebody who is logged in, and what their calls carry. */
async function loggedIn(transport: 'http' | 'grpc' = 'http') {
  const person = await accountByMail(waybill);
  return { person, headers: (await logIn(waybill[transport], person)).headers };
}

/** Somebody who has asked for another address, and the mail with the link. */
async function asked(transport: 'http' | 'grpc' = 'http') {
  const { person, headers } = await loggedIn(transport);
  const newEmail = somebody().email;
  const answer = await waybill[transport].call(changeEmail, { newEmail, currentPassword: person.password }, headers);
  expect(answer.code).toBe(Code.OK);
  return { person, headers, newEmail, mail: await waybill.mail.mailTo(newEmail) };
}

/** Somebody whose address was changed, and the notice that went to the old one. */
async function changed() {
  const all = await asked();
  expect((await waybill.http.call(verifyEmail, { token: all.mail.token })).code).toBe(Code.OK);
  return { ...all, notice: await waybill.mail.mailTo(all.person.email, 2) };
}

const emailOf = async ({ username }: { username: string }) =>
  (await waybill.database.query<{ email: string }>('SELECT email FROM users WHERE username = $1', [username]))[0]?.email;
const kindsOf = async ({ username }: { username: string }) =>
  (
    await waybill.database.query<{ kind: string }>(
      `SELECT kind FROM account_event JOIN users ON users.id = user_id WHERE username = $1 AND kind LIKE 'email_change%' ORDER BY account_event.id`,
      [username],
    )
  ).map(({ kind }) => kind);
const post = async (path: string, fields: Record<string, string>) => {
  const response = await waybill.fetch(path, { method: 'POST', body: new URLSearchParams(fields) });
  return [response.status, /<h1>(.*)<\/h1>/.exec(await response.text())?.[1]];
};

describe.each(['http', 'grpc'] as const)('another address, over %s', (transport) => {
  it('is the account’s once its link is redeemed, and the old one is told, with a way back', async () => {
    const { person, headers, newEmail, mail } = await asked(transport);
    expect(mail.subject).toBe('Confirm your new e-mail address');
    for (const text of [mail.text, mail.html, mail.recipient]) expect(text).not.toContain(person.username);
    expect(waybill.pathOf(mail.link)).toBe(`/verify-email?token=${mail.token}`);
    expect(await emailOf(person)).toBe(person.email);
    expect(waybill.mail.mailsTo(person.email)).toHaveLength(1);

    for (let time = 0; time < 2; time++) {
      const answer = await waybill[transport].call(verifyEmail, { token: mail.token });
      expect(answer.response?.user).toMatchObject({ username: person.username, email: newEmail, isEmailVerified: true });
    }
    const notice = await waybill.mail.mailTo(person.email, 2);
    expect(notice.subject).toBe('The e-mail address of your account was changed');
    expect(waybill.pathOf(notice.link)).toBe(`/undo-email-change?token=${notice.token}`);
    for (const text of [notice.text, notice.html]) expect(text).not.toContain(newEmail);
    await waybill.idle();
    expect(waybill.mail.mailsTo(person.email)).toHaveLength(2);
    expect(await kindsOf(person)).toEqual(['email_change_requested', 'email_changed']);

    expect((await waybill[transport].call(createSession, { login: newEmail, password: person.password })).code).toBe(Code.OK);
    expect((await waybill[transport].call(createSession, { login: person.email, password: person.password })).code).toBe(
      Code.UNAUTHENTICATED,
    );
    // The session goes on.
    for (const own of [newEmail, newEmail.toUpperCase()]) {
      expect((await waybill[transport].call(changeEmail, { newEmail: own, currentPassword: person.password }, headers)).violations).toEqual(
        [{ field: transport === 'http' ? 'newEmail' : 'new_email', description: 'is your address already' }],
      );
    }
  });

  it('needs the password, and somebody who is signed in', async () => {
    const { person, headers } = await loggedIn(transport);
    const newEmail = somebody().email;
    const call = (currentPassword: string, carried: Record<string, string> = headers) =>
      waybill[transport].call(changeEmail, { newEmail, currentPassword }, carried);
    expect((await call(person.password, {})).code).toBe(Code.UNAUTHENTICATED);
    expect((await call(person.password, { authorization: 'Bearer x.y.z' })).code).toBe(Code.UNAUTHENTICATED);
    expect(await call('wrong password')).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      violations: [{ field: transport === 'http' ? 'currentPassword' : 'current_password', description: 'is not your password' }],
    });
    expect((await waybill[transport].call(changeEmail, { newEmail: 'nobody', currentPassword: '' }, headers)).violations).toHaveLength(2);
    await waybill.idle();
    expect(waybill.mail.mailsTo(newEmail)).toEqual([]);
  });

  it('is asked for with twenty wrong passwords in a session, whatever they are given for, and its owner logs in anew', async () => {
    const { person, headers } = await loggedIn(transport);
    const calls = [
      (currentPassword: string, carried = headers) =>
        waybill[transport].call(changeEmail, { newEmail: somebody().email, currentPassword }, carried),
      (currentPassword: string, carried = headers) =>
        waybill[transport].call(changePassword, { currentPassword, newPassword: 'a new and better one' }, carried),
      (currentPassword: string, carried = headers) => waybill[transport].call(deleteUser, { currentPassword }, carried),
    ];
    const codes: Code[] = [];
    for (let guess = 0; guess < 21; guess++) codes.push((await calls[guess % 3]!(`guess ${guess}`)).code);
    expect(codes).toEqual([...Array.from({ length: 20 }, () => Code.INVALID_ARGUMENT), Code.RESOURCE_EXHAUSTED]);
    for (const call of calls) {
      expect(await call(person.password)).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'RATE_LIMIT_EXCEEDED' });
    }
    expect((await calls[0]!(person.password, (await logIn(waybill[transport], person)).headers)).code).toBe(Code.OK);
  });
});

describe('a link to a new address', () => {
  it('is void once another change is asked for, and stays void once its mail has said "This was not me"', async () => {
    const { person, headers, mail } = await asked();
    const right = somebody().email;
    expect((await waybill.grpc.call(changeEmail, { newEmail: right, currentPassword: person.password }, headers)).code).toBe(Code.OK);
    for (const caller of waybill.callers)
      expect((await caller.call(verifyEmail, { token: mail.token })).code).toBe(Code.FAILED_PRECONDITION);
    const { token } = await waybill.mail.mailTo(right);
    expect(await post('/verify-email/not-me', { token })).toEqual([200, 'Nothing was changed']);
    // A worker that was killed after it had sent the mail sends it again.
    const [link] = await waybill.database.query<{ id: string }>(
      `SELECT account_link.id FROM account_link JOIN users ON users.id = user_id WHERE username = $1 ORDER BY account_link.id DESC LIMIT 1`,
      [person.username],
    );
    await waybill.database.query(
      `INSERT INTO task (id, type, queue, payload, options, run_at)
       VALUES (gen_random_uuid(), 'account.send_email_change', 'critical', jsonb_build_object('linkId', $1::text), '{"maxRetry": 0, "timeout": 30000}', now())`,
      [link!.id],
    );
    await waybill.idle();
    expect(waybill.mail.mailsTo(right)).toHaveLength(1);
    expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.FAILED_PRECONDITION);
    expect(await emailOf(person)).toBe(person.email);
  });

  it('verifies nothing once it has expired, once another account has the address, or once it was disowned', async () => {
    const [expired, taken, disowned] = [await asked(), await asked(), await asked()];
    await waybill.database.query('UPDATE account_link SET expires_at = now() WHERE email = $1', [expired.newEmail]);
    const owner = await accountByMail(waybill);
    await waybill.database.query('UPDATE users SET email = $2 WHERE username = $1', [owner.username, taken.newEmail.toUpperCase()]);
    expect(await post('/verify-email/not-me', { token: disowned.mail.token })).toEqual([200, 'Nothing was changed']);
    for (const { person, mail } of [expired, taken, disowned]) {
      for (const caller of waybill.callers) {
        expect(await caller.call(verifyEmail, { token: mail.token }, { 'x-request-id': 'same' })).toEqual({
          code: Code.FAILED_PRECONDITION,
          message: 'this verification link is not valid, or no longer',
          reason: 'VERIFICATION_LINK_INVALID',
          violations: [],
          requestId: 'same',
        });
      }
      expect(await post('/verify-email', { token: mail.token })).toEqual([400, 'This link is no longer valid']);
      expect(await emailOf(person)).toBe(person.email);
    }
    expect(await kindsOf(disowned.person)).toEqual(['email_change_requested', 'email_change_disowned']);
    // Of one that was redeemed there is nothing left to disown.
    const { mail, person, newEmail } = await changed();
    expect(await post('/verify-email/not-me', { token: mail.token })).toEqual([400, 'This address was confirmed before']);
    expect(await emailOf(person)).toBe(newEmail);
  });

  it('asks on its page for a click, names the account, and changes nothing before', async () => {
    const { person, newEmail, mail } = await asked();
    for (const method of ['GET', 'HEAD']) expect((await waybill.fetch(waybill.pathOf(mail.link), { method })).status).toBe(200);
    const page = await (await waybill.fetch(waybill.pathOf(mail.link))).text();
    expect(page).toContain('Confirm your new e-mail address');
    expect(page).toContain(`the account ${person.username} `);
    expect(await emailOf(person)).toBe(person.email);
    expect(await post('/verify-email', { token: mail.token })).toEqual([200, 'Your e-mail address is verified']);
    expect(await emailOf(person)).toBe(newEmail);
  });

  it('deletes the sign-ups that wait for the address, and makes links to the old one void', async () => {
    const { person, newEmail, mail } = await asked();
    const waiting = { ...somebody(), email: newEmail.toUpperCase() };
    expect((await waybill.http.call(createUser, waiting)).code).toBe(Code.OK);
    await waybill.http.call(requestPasswordReset, { email: person.email });
    const reset = await waybill.mail.mailTo(person.email, 2);
    expect((await waybill.grpc.call(verifyEmail, { token: mail.token })).code).toBe(Code.OK);
    expect(await waybill.database.query('SELECT FROM users WHERE username = $1', [waiting.username])).toEqual([]);
    const answer = await waybill.http.call(resetPassword, { token: reset.token, newPassword: 'a new and better one' });
    expect(answer.code).toBe(Code.FAILED_PRECONDITION);
  });

  it('of several for one address one is redeemed, at the same instant too', async () => {
    const newEmail = somebody().email;
    const people = [await loggedIn(), await loggedIn(), await loggedIn()];
    const tokens: string[] = [];
    for (const [index, { person, headers }] of people.entries()) {
      await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers);
      tokens.push((await waybill.mail.mailTo(newEmail, index + 1)).token);
    }
    const stranger = { ...somebody(), email: newEmail };
    await waybill.http.call(createUser, stranger);
    tokens.push((await waybill.mail.mailTo(newEmail, 4)).token);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => waybill.callers[index % 2]!.call(verifyEmail, { token: tokens[index % 4]! })),
    );
    const owners = new Set(answers.flatMap(({ response }) => response?.user?.username ?? []));
    expect(owners.size).toBe(1);
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK, Code.FAILED_PRECONDITION]));
    const rows = await waybill.database.query<{ username: string }>('SELECT username FROM users WHERE email = $1', [newEmail]);
    expect(rows).toEqual([{ username: [...owners][0] }]);
  });
});

it('whether another account has an address is not told: its owner is, once an hour, and no link is mailed', async () => {
  const owner = await accountByMail(waybill);
  const { person, headers } = await loggedIn();
  const answers = [];
  for (const newEmail of [owner.email, somebody().email, owner.email.toUpperCase()]) {
    for (const caller of waybill.callers) {
      const answer = await caller.call(changeEmail, { newEmail, currentPassword: person.password }, { ...headers, 'x-request-id': 'same' });
      answers.push(JSON.stringify(answer));
    }
  }
  expect(new Set(answers).size).toBe(1);
  await waybill.mail.mailTo(owner.email, 2);
  await waybill.idle();
  const [, notice, ...more] = waybill.mail.mailsTo(owner.email);
  expect(more).toEqual([]);
  expect(notice).toMatchObject({ subject: 'Somebody tried to use your e-mail address', token: '' });
  expect(notice!.text).not.toContain(person.username);
});

it('an account asks for ten changes a day, and an address gets ten links', async () => {
  const { person, headers } = await loggedIn();
  const ask = (newEmail: string) => waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers);
  const newEmail = somebody().email;
  for (let time = 0; time < 10; time++) expect((await ask(newEmail)).code).toBe(Code.OK);
  expect((await ask(somebody().email)).code).toBe(Code.RESOURCE_EXHAUSTED);
  await waybill.mail.mailTo(newEmail, 10);
  const other = await loggedIn();
  await waybill.http.call(changeEmail, { newEmail, currentPassword: other.person.password }, other.headers);
  await waybill.idle();
  expect(waybill.mail.mailsTo(newEmail)).toHaveLength(10);
  await waybill.database.query(`UPDATE account_link SET created_at = created_at - interval '1 day' WHERE email = $1`, [newEmail]);
  expect((await ask(newEmail)).code).toBe(Code.OK);
  await waybill.mail.mailTo(newEmail, 11);
});

describe('the way back', () => {
  it('gives the old address back, ends all sessions, voids the password, and mails a link for a new one', async () => {
    const { person, headers, newEmail, notice } = await changed();
    for (const method of ['GET', 'HEAD']) expect((await waybill.fetch(waybill.pathOf(notice.link), { method })).status).toBe(200);
    expect(await (await waybill.fetch(waybill.pathOf(notice.link))).text()).toContain(`the account ${person.username} `);
    expect(await emailOf(person)).toBe(newEmail);

    expect(await post('/undo-email-change', { token: notice.token })).toEqual([200, 'Your e-mail address is back']);
    expect(await emailOf(person)).toBe(person.email);
    const ended = await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers);
    expect(ended.code).toBe(Code.UNAUTHENTICATED);
    for (const login of [person.username, person.email, newEmail]) {
      expect((await waybill.grpc.call(createSession, { login, password: person.password })).code).toBe(Code.UNAUTHENTICATED);
    }
    const reset = await waybill.mail.mailTo(person.email, 3);
    expect(reset.subject).toBe('Choose a new password');
    const newPassword = 'a new and better one';
    expect((await waybill.http.call(resetPassword, { token: reset.token, newPassword })).code).toBe(Code.OK);
    expect((await waybill.grpc.call(createSession, { login: person.email, password: newPassword })).code).toBe(Code.OK);
    expect(await post('/undo-email-change', { token: notice.token })).toEqual([400, 'This link is no longer valid']);
    expect(await kindsOf(person)).toEqual(['email_change_requested', 'email_changed', 'email_change_undone']);
  });

  it('undoes what came after it, and voids the ways back to later addresses', async () => {
    const { person, headers, newEmail, notice } = await changed();
    const third = somebody().email;
    await waybill.http.call(changeEmail, { newEmail: third, currentPassword: person.password }, headers);
    const pending = await waybill.mail.mailTo(third);
    await waybill.http.call(verifyEmail, { token: pending.token });
    const later = await waybill.mail.mailTo(newEmail, 2);
    await waybill.http.call(changeEmail, { newEmail: somebody().email, currentPassword: person.password }, headers);
    expect(await post('/undo-email-change', { token: notice.token })).toEqual([200, 'Your e-mail address is back']);
    expect(await emailOf(person)).toBe(person.email);
    expect(await post('/undo-email-change', { token: later.token })).toEqual([400, 'This link is no longer valid']);
    expect(await emailOf(person)).toBe(person.email);
  });

  it('by a later link leaves the earlier one good', async () => {
    const { person, headers, newEmail, notice } = await changed();
    const third = somebody().email;
    await waybill.http.call(changeEmail, { newEmail: third, currentPassword: person.password }, headers);
    await waybill.http.call(verifyEmail, { token: (await waybill.mail.mailTo(third)).token });
    const later = await waybill.mail.mailTo(newEmail, 2);
    expect(await post('/undo-email-change', { token: later.token })).toEqual([200, 'Your e-mail address is back']);
    expect(await emailOf(person)).toBe(newEmail);
    expect(await post('/undo-email-change', { token: notice.token })).toEqual([200, 'Your e-mail address is back']);
    expect(await emailOf(person)).toBe(person.email);
  });

  it('is closed after its time, when somebody else has the address, and to every other token', async () => {
    const [late, taken] = [await changed(), await changed()];
    await waybill.database.query('UPDATE account_link SET expires_at = now() WHERE email = $1', [late.person.email]);
    const owner = { ...somebody(), email: taken.person.email };
    await waybill.http.call(createUser, owner);
    const { token } = await waybill.mail.mailTo(taken.person.email, 3);
    expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
    for (const bad of [late.notice.token, taken.notice.token, token, late.mail.token, '', 'A'.repeat(43), "'; DROP TABLE users; --"]) {
      expect((await waybill.fetch(`/undo-email-change?${new URLSearchParams({ token: bad })}`)).status).toBe(400);
      expect(await post('/undo-email-change', { token: bad })).toEqual([400, 'This link is no longer valid']);
    }
    expect([await emailOf(late.person), await emailOf(taken.person)]).toEqual([late.newEmail, taken.newEmail]);
  });
});

it.each(['ChangePassword', 'ResetPassword'] as const)(
  'a new password by %s makes void what was asked for with the old one',
  async (way) => {
    const { person, headers, mail } = await asked();
    expect((await waybill.http.call(requestPasswordReset, { email: person.email })).code).toBe(Code.OK);
    const { token } = await waybill.mail.mailTo(person.email, 2);
    const newPassword = 'quite another horse';
    const answer =
      way === 'ChangePassword'
        ? await waybill.http.call(changePassword, { currentPassword: person.password, newPassword }, headers)
        : await waybill.http.call(resetPassword, { token, newPassword });
    expect(answer.code).toBe(Code.OK);
    expect((await waybill.http.call(verifyEmail, { token: mail.token })).code).toBe(Code.FAILED_PRECONDITION);
    expect((await waybill.http.call(resetPassword, { token, newPassword })).code).toBe(Code.FAILED_PRECONDITION);
    expect(await emailOf(person)).toBe(person.email);
  },
);

it('a mail server that fails gets the same link and Message-ID again', async () => {
  const { person, headers } = await loggedIn();
  const newEmail = somebody().email;
  waybill.mail.when(newEmail, { refuse: 451, at: 'data' });
  await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers);
  await eventually(() => waybill.mail.triesTo(newEmail).length >= 2);
  waybill.mail.when(newEmail, 'accept');
  await waybill.mail.mailTo(newEmail);
  const tries = waybill.mail.triesTo(newEmail);
  expect(new Set(tries.map(({ mail }) => mail?.link)).size).toBe(1);
  expect(new Set(tries.map(({ mail }) => mail?.messageId)).size).toBe(1);
});
