import { randomUUID } from 'node:crypto';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail, requestPasswordReset, resetPassword } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres');
  await waybill.retryQuickly();
});
afterAll(() => waybill?.close());

async function signedUp() {
  const person = somebody();
  expect((await waybill.http.call(createUser, person)).code).toBe(Code.OK);
  const { token } = await waybill.mail.mailTo(person.email);
  return { person, token };
}

/** Somebody who has an account. */
async function verified() {
  const { person, token } = await signedUp();
  expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
  return person;
}

/** Somebody who has asked for a new password, and the mail with the link. */
async function asked(transport: 'http' | 'grpc' = 'http') {
  const person = await verified();
  expect((await waybill[transport].call(requestPasswordReset, { email: person.email })).code).toBe(Code.OK);
  return { person, mail: await waybill.mail.mailTo(person.email, 2) };
}

/** Ends the minute in which no other mail can be asked for. */
const endTheMinute = () => waybill.database.query('UPDATE task SET unique_until = now() WHERE unique_until > now()');
const hashOf = async (username: string) =>
  (await waybill.database.query<{ hash: string }>('SELECT password_hash AS hash FROM users WHERE username = $1', [username]))[0]?.hash;
const linksOf = (email: string) => waybill.mail.mailsTo(email).filter(({ subject }) => subject === 'Choose a new password');
const PASSWORD = 'a new and better one';

describe.each(['http', 'grpc'] as const)('a forgotten password, over %s', (transport) => {
  it('is replaced by the link that was mailed, once, and its owner is told', async () => {
    const { person, mail } = await asked(transport);
    expect(mail.subject).toBe('Choose a new password');
    expect(mail.html).toContain(`href="${mail.link}"`);
    expect(waybill.pathOf(mail.link)).toBe(`/reset-password?token=${mail.token}`);
    const before = await hashOf(person.username);

    const answer = await waybill[transport].call(resetPassword, { token: mail.token, newPassword: PASSWORD });
    expect(answer).toMatchObject({ code: Code.OK });
    const after = await hashOf(person.username);
    expect(after).not.toBe(before);
    expect(after).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    const notice = await waybill.mail.mailTo(person.email, 3);
    expect(notice.subject).toBe('Your password was changed');
    expect(notice.text).toContain(person.username);

    const again = await waybill[transport].call(resetPassword, { token: mail.token, newPassword: 'yet another password' });
    expect(again.code).toBe(Code.FAILED_PRECONDITION);
    expect(await hashOf(person.username)).toBe(after);
    await waybill.idle();
    // What the notice needed is forgotten once it is sent.
    expect(await waybill.database.query('SELECT FROM account_notice')).toEqual([]);
    const events = await waybill.database.query<{ kind: string; client: string }>(
      `SELECT kind, client FROM account_event JOIN users ON users.id = user_id WHERE username = $1 ORDER BY account_event.id`,
      [person.username],
    );
    expect(events.map(({ kind }) => kind)).toEqual(['signed_up', 'email_verified', 'password_reset_requested', 'password_reset']);
    expect(events.at(-1)?.client).toBe('127.0.0.1');
  });

  it('may not be replaced by what is no password, and the link is not used up by that', async () => {
    const { person, mail } = await asked(transport);
    const cases: [string, string][] = [
      ['short', 'must be at least 8 characters'],
      ['password1', 'is one of the most used passwords'],
      [person.username, 'must not be your name or address'],
      [`${person.email}1`, 'must not be your name or address'],
      ['x'.repeat(129), 'must be at most 128 characters'],
    ];
    for (const [newPassword, description] of cases) {
      const answer = await waybill[transport].call(resetPassword, { token: mail.token, newPassword });
      expect(answer.code).toBe(Code.INVALID_ARGUMENT);
      const field = transport === 'http' ? 'newPassword' : 'new_password';
      expect(answer.violations).toEqual([{ field, description }]);
    }
    expect((await waybill[transport].call(resetPassword, { token: mail.token, newPassword: PASSWORD })).code).toBe(Code.OK);
  });
});

describe('a token that resets no password', () => {
  const cases: Record<string, () => Promise<string>> = {
    'is wrong': async () => randomUUID(),
    'is no token at all': async () => "'; DROP TABLE users; --",
    'is truncated': async () => (await asked()).mail.token.slice(0, -1),
    'has expired': async () => {
      const { person, mail } = await asked();
      await waybill.database.query(`UPDATE account_link SET expires_at = now() WHERE email = $1`, [person.email]);
      return mail.token;
    },
    'was mailed to a former address': async () => {
      const { person, mail } = await asked();
      await waybill.database.query('UPDATE users SET email = $2 WHERE email = $1', [person.email, `new-${person.email}`]);
      return mail.token;
    },
    'is of an account that is gone': async () => {
      const { person, mail } = await asked();
      await waybill.database.query('DELETE FROM users WHERE email = $1', [person.email]);
      return mail.token;
    },
    'verifies an address instead': async () => (await signedUp()).token,
  };

  it.each(Object.entries(cases))('because it %s is answered like every other one', async (_, make) => {
    const token = await make();
    const hashes = () => waybill.database.query('SELECT id, password_hash FROM users ORDER BY id');
    const before = await hashes();
    for (const caller of waybill.callers) {
      expect(await caller.call(resetPassword, { token, newPassword: PASSWORD }, { 'x-request-id': 'same' })).toEqual({
        code: Code.FAILED_PRECONDITION,
        message: 'this link is not valid, or no longer',
        reason: 'PASSWORD_RESET_LINK_INVALID',
        violations: [],
        requestId: 'same',
      });
    }
    expect(await hashes()).toEqual(before);
  });

  it('nor verifies an address', async () => {
    const { mail } = await asked();
    expect((await waybill.grpc.call(verifyEmail, { token: mail.token })).code).toBe(Code.FAILED_PRECONDITION);
  });
});

it('of twenty who redeem links of one account at the same instant one sets the password', async () => {
  const { person, mail } = await asked();
  await waybill.idle();
  await endTheMinute();
  await waybill.http.call(requestPasswordReset, { email: person.email });
  const tokens = [mail.token, (await waybill.mail.mailTo(person.email, 3)).token];
  expect(new Set(tokens).size).toBe(2);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      waybill.callers[index % 2]!.call(resetPassword, { token: tokens[(index >> 1) % 2]!, newPassword: `${PASSWORD} ${index}` }),
    ),
  );
  const codes = answers.map(({ code }) => code);
  expect(codes.filter((code) => code === Code.OK)).toHaveLength(1);
  expect(new Set(codes)).toEqual(new Set([Code.OK, Code.FAILED_PRECONDITION]));
  await waybill.mail.mailTo(person.email, 4);
  await waybill.idle();
  expect(waybill.mail.mailsTo(person.email)).toHaveLength(4);
});

describe('asking for a new password', () => {
  it('is answered alike, and does as much, for an address that has an account, waits to be verified, or is unknown', async () => {
    const [account, waiting] = [await verified(), (await signedUp()).person];
    await waybill.idle();
    const emails = [account.email, waiting.email, somebody().email];
    const counts = async () => {
      const [row] = await waybill.database.query<{ events: number }>(`SELECT (SELECT count(*)::int FROM account_event) AS events`);
      return row!.events;
    };
    const answers = [];
    for (const email of emails) {
      const before = await counts();
      for (const caller of waybill.callers) answers.push(await caller.call(requestPasswordReset, { email }, { 'x-request-id': 'same' }));
      expect((await counts()) - before).toBe(2);
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]?.code).toBe(Code.OK);
    await waybill.mail.mailTo(account.email, 2);
    await waybill.idle();
    expect(emails.map((email) => linksOf(email).length)).toEqual([1, 0, 0]);
    // The event of nobody is kept for as long as it counts.
    const kept = await waybill.database.query<{ hours: number }>(
      `SELECT round(extract(epoch FROM expires_at - created_at) / 3600)::int AS hours FROM account_event
       WHERE kind = 'password_reset_requested' AND NOT EXISTS (SELECT FROM users WHERE users.id = user_id) ORDER BY id DESC LIMIT 2`,
    );
    expect(kept).toEqual([{ hours: 24 }, { hours: 24 }]);
  });

  it('does as much for an address that nobody has also after the hundred that are recorded a day', async () => {
    const account = await verified();
    const unknown = somebody().email;
    const since = (await waybill.database.query<{ now: Date }>('SELECT now()'))[0]!.now;
    for (let times = 0; times < 102; times++) {
      for (const email of [account.email, times % 2 ? unknown : unknown.toUpperCase()]) {
        expect((await waybill.http.call(requestPasswordReset, { email })).code).toBe(Code.OK);
      }
    }
    const recorded = await waybill.database.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM account_event WHERE kind = 'password_reset_requested' AND created_at > $1 GROUP BY user_id`,
      [since],
    );
    expect(recorded).toEqual([{ count: 100 }, { count: 100 }]);
  });

  it('a hundred times within a minute mails once, in whatever case', async () => {
    const person = await verified();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        waybill.callers[index % 2]!.call(requestPasswordReset, { email: index % 3 ? person.email : person.email.toUpperCase() }),
      ),
    );
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK]));
    await waybill.mail.mailTo(person.email, 2);
    await waybill.idle();
    expect(linksOf(person.email)).toHaveLength(1);
  });

  it('all day long leaves the owner with a link that works: ten, and then one at a time', async () => {
    const person = await verified();
    const ask = async () => {
      await waybill.idle();
      await endTheMinute();
      expect((await waybill.http.call(requestPasswordReset, { email: person.email })).code).toBe(Code.OK);
      await waybill.idle();
      return linksOf(person.email).length;
    };
    for (let time = 0; time < 12; time++) await ask();
    expect(linksOf(person.email)).toHaveLength(10);
    await waybill.database.query('UPDATE account_link SET expires_at = now() WHERE email = $1', [person.email]);
    expect(await ask()).toBe(11);
    expect(await ask()).toBe(11);
    const { token } = linksOf(person.email).at(-1)!;
    expect((await waybill.grpc.call(resetPassword, { token, newPassword: PASSWORD })).code).toBe(Code.OK);
  });

  it('is refused for what is no address', async () => {
    for (const caller of waybill.callers) {
      const answer = await caller.call(requestPasswordReset, { email: 'root@localhost' });
      expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'email' }] });
    }
  });
});

it('a mail server that fails gets the same link and Message-ID again', async () => {
  const person = await verified();
  waybill.mail.when(person.email, { refuse: 451, at: 'data' });
  await waybill.http.call(requestPasswordReset, { email: person.email });
  await eventually(() => waybill.mail.triesTo(person.email).length >= 3);
  waybill.mail.when(person.email, 'accept');
  await waybill.mail.mailTo(person.email, 2);
  const [, ...tries] = waybill.mail.triesTo(person.email);
  expect(new Set(tries.map(({ mail }) => mail?.link)).size).toBe(1);
  expect(new Set(tries.map(({ mail }) => mail?.messageId)).size).toBe(1);
});

it('what is over is deleted: links a day after their time, notices that cannot be mailed after a week', async () => {
  const [old, young] = [await asked(), await asked()];
  const ago = (email: string, time: string) =>
    waybill.database.query('UPDATE account_link SET expires_at = now() - $2::interval WHERE email = $1', [email, time]);
  await ago(old.person.email, '25 h');
  await ago(young.person.email, '23 h');
  const notice = `INSERT INTO account_notice (id, kind, email, username, created_at) VALUES (gen_random_uuid(), 'password_reset', $1, 'x', now() - $2::interval)`;
  await waybill.database.query(notice, [old.person.email, '8 days']);
  await waybill.database.query(notice, [young.person.email, '6 days']);
  const purge = `UPDATE task_schedule SET next_at = now() WHERE type = 'account.purge_links' RETURNING type`;
  await eventually(async () => (await waybill.database.query(purge)).length === 1);
  const left = `SELECT email FROM account_link WHERE email = ANY ($1) UNION ALL SELECT email FROM account_notice WHERE email = ANY ($1)`;
  const emails = [old.person.email, young.person.email];
  await eventually(async () => (await waybill.database.query(left, [emails])).length === 2);
  expect(await waybill.database.query(left, [emails])).toEqual([{ email: young.person.email }, { email: young.person.email }]);
});
