import { randomUUID } from 'node:crypto';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail, resendVerificationEmail } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres');
});
afterAll(() => waybill?.close());

/** Somebody who has signed up, and the mail they were sent. */
async function signedUp() {
  const person = somebody();
  expect((await waybill.http.call(createUser, person)).code).toBe(Code.OK);
  return { person, mail: await waybill.mail.mailTo(person.email) };
}

/** Somebody whose address is verified, and the mail whose link did it. */
async function verified() {
  const somebody = await signedUp();
  expect((await waybill.http.call(verifyEmail, { token: somebody.mail.token })).code).toBe(Code.OK);
  return somebody;
}

/** Ends the minute in which no other mail can be asked for. */
const endTheMinute = () => waybill.database.query('UPDATE task SET unique_until = now() WHERE unique_until > now()');

describe('a token that does not verify', () => {
  const cases: Record<string, () => Promise<string>> = {
    'is wrong': async () => randomUUID(),
    'is no token at all': async () => "'; DROP TABLE users; --",
    'is truncated': async () => (await signedUp()).mail.token.slice(0, -1),
    'is in another case': async () => {
      const { token } = (await signedUp()).mail;
      return token === token.toLowerCase() ? token.toUpperCase() : token.toLowerCase();
    },
    'was used for an address that is not verified any more': async () => {
      const { person, mail } = await verified();
      await waybill.database.query('UPDATE users SET is_email_verified = false WHERE email = $1', [person.email]);
      return mail.token;
    },
    'was used for an address that has changed since': async () => {
      const { person, mail } = await verified();
      await waybill.database.query('UPDATE users SET email = $2 WHERE email = $1', [person.email, `new-${person.email}`]);
      return mail.token;
    },
    'has expired': async () => {
      const { person, mail } = await signedUp();
      await waybill.database.query(`UPDATE email_verification SET expires_at = now() - interval '1 s' WHERE email = $1`, [person.email]);
      return mail.token;
    },
    'is for an address that has changed since': async () => {
      const { person, mail } = await signedUp();
      await waybill.database.query('UPDATE users SET email = $2 WHERE email = $1', [person.email, `new-${person.email}`]);
      return mail.token;
    },
  };

  it.each(Object.entries(cases))('because it %s is answered like every other one', async (_, make) => {
    const token = await make();
    const verified = 'SELECT count(*)::int AS count FROM users WHERE is_email_verified';
    const before = await waybill.database.query(verified);
    for (const caller of waybill.callers) {
      expect(await caller.call(verifyEmail, { token }, { 'x-request-id': 'same' })).toEqual({
        code: Code.FAILED_PRECONDITION,
        message: 'this verification link is not valid, or no longer',
        violations: [],
        requestId: 'same',
      });
    }
    expect(await waybill.database.query(verified)).toEqual(before);
  });

  it('because there is none, or it is too long, is a wrong request', async () => {
    for (const caller of waybill.callers) {
      expect((await caller.call(verifyEmail, { token: '' })).code).toBe(Code.INVALID_ARGUMENT);
      expect((await caller.call(verifyEmail, { token: 'x'.repeat(1025) })).code).toBe(Code.INVALID_ARGUMENT);
    }
  });
});

it.each(['older', 'newer'] as const)('of two links that were mailed the %s verifies, and then the other one says so too', async (first) => {
  const { person, mail: older } = await signedUp();
  await waybill.http.call(resendVerificationEmail, { email: person.email });
  const newer = await waybill.mail.mailTo(person.email, 2);
  expect(newer.token).not.toBe(older.token);
  for (const { token } of first === 'older' ? [older, newer] : [newer, older]) {
    const answer = await waybill.http.call(verifyEmail, { token });
    expect(answer.response?.user).toMatchObject({ email: person.email, isEmailVerified: true });
  }
});

it('a link whose mail went out late, after a newer one, verifies', async () => {
  await waybill.retryQuickly();
  const person = somebody();
  waybill.mail.when(person.email, { refuse: 451, at: 'data' });
  await waybill.http.call(createUser, person);
  await eventually(() => waybill.mail.triesTo(person.email).length > 0);
  await waybill.http.call(resendVerificationEmail, { email: person.email });
  waybill.mail.when(person.email, 'accept');
  const mails = [await waybill.mail.mailTo(person.email, 1), await waybill.mail.mailTo(person.email, 2)];
  expect(new Set(mails.map(({ token }) => token)).size).toBe(2);
  const { token } = waybill.mail.triesTo(person.email)[0]!.mail!;
  expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
});

it('twenty clicks at the same instant all succeed, as does every later one, and verify once', async () => {
  const { person, mail } = await signedUp();
  const click = (index: number) => waybill.callers[index % 2]!.call(verifyEmail, { token: mail.token });
  const stored = () =>
    waybill.database.query('SELECT v.xmin, u.xmin, used_at FROM email_verification v JOIN users u ON u.id = user_id WHERE v.email = $1', [
      person.email,
    ]);
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => click(index)));
  const written = await stored();
  answers.push(await click(0), await click(1));
  for (const { response } of answers) expect(response?.user).toMatchObject({ email: person.email, isEmailVerified: true });
  expect(await stored()).toEqual(written);
});

it('a task that is redriven mails nothing to whoever is verified meanwhile, nor another person’s link', async () => {
  const { person: waiting } = await signedUp();
  const [verified, other] = [somebody(), somebody()];
  for (const { email } of [verified, other]) waybill.mail.when(email, { refuse: 550, at: 'data' });
  for (const person of [verified, other]) await waybill.http.call(createUser, person);
  const idOf = async ({ email }: typeof waiting) =>
    (await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE email = $1', [email]))[0]!.id;
  const userIds = [await idOf(verified), await idOf(other)];
  const buried = () => waybill.ledger().then((rows) => rows.filter(({ state }) => state === 'dead'));
  const tasks = await eventually(async () => {
    const found = (await buried()).filter(({ payload }) => userIds.includes(payload.userId!));
    return found.length === 2 && found;
  });
  for (const { email } of [verified, other]) waybill.mail.when(email, 'accept');
  expect((await waybill.http.call(verifyEmail, { token: waybill.mail.triesTo(verified.email)[0]!.mail!.token })).code).toBe(Code.OK);

  // Version 7 UUIDs: in the order of the sign-ups.
  await Promise.all([
    waybill.tasks('redrive', tasks[0]!.id),
    waybill.tasks('redrive', tasks[1]!.id, '--payload', JSON.stringify({ userId: await idOf(waiting) })),
  ]);
  await waybill.idle();
  expect(await buried()).toMatchObject([{ id: tasks[1]!.id, error: 'this task was for another person' }]);
  expect([verified, other, waiting].map(({ email }) => waybill.mail.mailsTo(email).length)).toEqual([0, 0, 1]);
});

it('links are deleted a day after their time, and not before', async () => {
  const [forgotten, remembered] = [await verified(), await verified()];
  const expire = (email: string, ago: string) =>
    waybill.database.query('UPDATE email_verification SET expires_at = now() - $2::interval WHERE email = $1', [email, ago]);
  await expire(forgotten.person.email, '25 h');
  await expire(remembered.person.email, '23 h');
  const purge = `UPDATE task_schedule SET next_at = now() WHERE type = 'account.purge_email_verifications' RETURNING type`;
  await eventually(async () => (await waybill.database.query(purge)).length === 1);
  await eventually(async () => (await waybill.http.call(verifyEmail, { token: forgotten.mail.token })).code === Code.FAILED_PRECONDITION);
  expect((await waybill.http.call(verifyEmail, { token: remembered.mail.token })).code).toBe(Code.OK);
});

it('an expired link is replaced by asking for another mail', async () => {
  const { person, mail } = await signedUp();
  await waybill.database.query(`UPDATE email_verification SET expires_at = now() - interval '1 s' WHERE email = $1`, [person.email]);
  await waybill.http.call(resendVerificationEmail, { email: person.email });
  const newer = await waybill.mail.mailTo(person.email, 2);
  expect((await waybill.http.call(verifyEmail, { token: mail.token })).code).toBe(Code.FAILED_PRECONDITION);
  expect((await waybill.http.call(verifyEmail, { token: newer.token })).code).toBe(Code.OK);
});

describe('asking for another mail', () => {
  it('is answered alike for an address that is known, unknown or verified', async () => {
    const known = await signedUp();
    const emails = [known.person.email, somebody().email, (await verified()).person.email];
    const answers = [];
    for (const email of emails) {
      for (const caller of waybill.callers) answers.push(await caller.call(resendVerificationEmail, { email }, { 'x-request-id': 'same' }));
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]?.code).toBe(Code.OK);
    await waybill.mail.mailTo(known.person.email, 2);
    await waybill.idle();
    expect(emails.map((email) => waybill.mail.mailsTo(email).length)).toEqual([2, 0, 1]);
  });

  it('does as much work for a stranger: a task each, in the same statements', async () => {
    const tasks = async () => (await waybill.ledger()).length;
    const { person } = await signedUp();
    await waybill.idle();
    const before = await tasks();
    await waybill.http.call(resendVerificationEmail, { email: person.email });
    await waybill.http.call(resendVerificationEmail, { email: somebody().email });
    await eventually(async () => (await tasks()) === before + 2);
  });

  it('a hundred times within a minute mails once, in whatever case', async () => {
    const { person } = await signedUp();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        waybill.callers[index % 2]!.call(resendVerificationEmail, { email: index % 3 ? person.email : person.email.toUpperCase() }),
      ),
    );
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK]));
    await waybill.mail.mailTo(person.email, 2);
    await waybill.idle();
    expect(waybill.mail.mailsTo(person.email)).toHaveLength(2);
  });

  it('is possible again when the minute is over', async () => {
    const { person } = await signedUp();
    await waybill.http.call(resendVerificationEmail, { email: person.email });
    await waybill.mail.mailTo(person.email, 2);
    await waybill.idle();
    await endTheMinute();
    await waybill.http.call(resendVerificationEmail, { email: person.email });
    await waybill.mail.mailTo(person.email, 3);
  });

  it('mails ten links a day, that of the sign-up included, and answers the eleventh alike', async () => {
    const { person } = await signedUp();
    const ask = async () => {
      await endTheMinute();
      return (await waybill.http.call(resendVerificationEmail, { email: person.email.toUpperCase() })).code;
    };
    // Without waiting for their mails: the tasks that send them run beside each other.
    for (let time = 0; time < 15; time++) expect(await ask()).toBe(Code.OK);
    await waybill.mail.mailTo(person.email, 10);
    await waybill.idle();
    expect(waybill.mail.mailsTo(person.email)).toHaveLength(10);

    await waybill.database.query(`UPDATE email_verification SET created_at = created_at - interval '1 day' WHERE email = $1`, [
      person.email,
    ]);
    expect(await ask()).toBe(Code.OK);
    await waybill.mail.mailTo(person.email, 11);
  });

  it('is refused for what is no address', async () => {
    for (const caller of waybill.callers) {
      const answer = await caller.call(resendVerificationEmail, { email: 'nobody' });
      expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'email' }] });
    }
  });
});
