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

describe('a token that does not verify', () => {
  const cases: Record<string, () => Promise<string>> = {
    'is wrong': async () => randomUUID(),
    'is no token at all': async () => "'; DROP TABLE users; --",
    'is truncated': async () => (await signedUp()).mail.token.slice(0, -1),
    'is in another case': async () => {
      const { token } = (await signedUp()).mail;
      return token === token.toLowerCase() ? token.toUpperCase() : token.toLowerCase();
    },
    'was used': async () => {
      const { token } = (await signedUp()).mail;
      expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
      return token;
    },
    'has expired': async () => {
      const { person, mail } = await signedUp();
      await waybill.database.query(`UPDATE email_verification SET expires_at = now() - interval '1 s' WHERE email = $1`, [person.email]);
      return mail.token;
    },
    'is of an older mail': async () => {
      const { person, mail } = await signedUp();
      await waybill.grpc.call(resendVerificationEmail, { email: person.email });
      const newer = await waybill.mail.mailTo(person.email, 2);
      expect(newer.token).not.toBe(mail.token);
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

it('the newest link is the one that verifies', async () => {
  const { person } = await signedUp();
  await waybill.http.call(resendVerificationEmail, { email: person.email });
  const { token } = await waybill.mail.mailTo(person.email, 2);
  const answer = await waybill.http.call(verifyEmail, { token });
  expect(answer.response?.user).toMatchObject({ email: person.email, isEmailVerified: true });
});

it('of twenty clicks at the same instant one verifies', async () => {
  const { token } = (await signedUp()).mail;
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => waybill.callers[index % 2]!.call(verifyEmail, { token })));
  const codes = answers.map(({ code }) => code).sort();
  expect(codes).toEqual([Code.OK, ...Array<Code>(19).fill(Code.FAILED_PRECONDITION)]);
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
    const verified = await signedUp();
    await waybill.http.call(verifyEmail, { token: verified.mail.token });
    const emails = [known.person.email, somebody().email, verified.person.email];
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
    await waybill.database.query(`UPDATE task SET unique_until = now() WHERE unique_until > now()`);
    await waybill.http.call(resendVerificationEmail, { email: person.email });
    await waybill.mail.mailTo(person.email, 3);
  });

  it('is refused for what is no address', async () => {
    for (const caller of waybill.callers) {
      const answer = await caller.call(resendVerificationEmail, { email: 'nobody' });
      expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'email' }] });
    }
  });
});
