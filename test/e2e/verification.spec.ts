import { randomUUID } from 'node:crypto';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { createUser, deleteUser, verifyEmail, resendVerificationEmail } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres');
  await waybill.retryQuickly();
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
    'is for an address that another account has': async () => {
      const { person, mail } = await signedUp();
      const owner = (await verified()).person;
      await waybill.database.query('UPDATE users SET email = $2 WHERE email = $1', [owner.email, person.email.toUpperCase()]);
      return mail.token;
    },
    'was mailed for a sign-up that was deleted': async () => {
      const { person, mail } = await signedUp();
      await waybill.database.query('DELETE FROM users WHERE email = $1', [person.email]);
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
        reason: 'VERIFICATION_LINK_INVALID',
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

it('clicks that verify an account, that disown it and that delete it wait for each other, and none fails', async () => {
  const deadlocks = async () => {
    const [row] = await waybill.database.query<{ deadlocks: string }>(
      'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
    );
    return row!.deadlocks;
  };
  const before = await deadlocks();
  const post = async (path: string, token: string) =>
    (await waybill.fetch(path, { method: 'POST', body: new URLSearchParams({ token }) })).status;
  for (let round = 0; round < 8; round++) {
    const { mail } = await signedUp();
    const clicks = Array.from({ length: 12 }, (_, index) => post(index % 2 ? '/verify-email' : '/verify-email/not-me', mail.token));
    for (const status of await Promise.all(clicks)) expect([200, 400]).toContain(status);
  }
  for (let round = 0; round < 3; round++) {
    const { person, mail } = await verified();
    const { headers } = await logIn(waybill.http, person);
    const deletion = waybill.http.call(deleteUser, { currentPassword: person.password }, headers);
    const clicks: Promise<number>[] = [];
    const state = { isOver: false };
    void deletion.finally(() => (state.isOver = true));
    while (!state.isOver) {
      clicks.push(post('/verify-email', mail.token));
      await clicks.at(-5);
    }
    expect((await deletion).code).toBe(Code.OK);
    for (const status of await Promise.all(clicks)) expect([200, 400]).toContain(status);
  }
  expect(await deadlocks()).toBe(before);
});

describe('several sign-ups for one address', () => {
  /** So many people who sign up with one address, written in different cases, and the links that were mailed, theirs by index. */
  async function waiting(count: number) {
    const { email } = somebody();
    const people = Array.from({ length: count }, (_, index) => ({ ...somebody(), email: index % 2 ? email.toUpperCase() : email }));
    const tokens: string[] = [];
    for (const [index, person] of people.entries()) {
      expect((await waybill.callers[index % 2]!.call(createUser, person)).code).toBe(Code.OK);
      tokens.push((await waybill.mail.mailTo(email, index + 1)).token);
    }
    return { email, people, tokens };
  }
  const usernames = async (email: string) =>
    (
      await waybill.database.query<{ username: string; verified: boolean }>(
        'SELECT username, is_email_verified AS verified FROM users WHERE lower(email) = lower($1)',
        [email],
      )
    ).map(({ username, verified }) => [username, verified]);

  it.each(['first', 'second'] as const)('the %s is verified, has the address, and the others are gone', async (which) => {
    const { email, people, tokens } = await waiting(3);
    const place = which === 'first' ? 0 : 1;
    const answer = await waybill.http.call(verifyEmail, { token: tokens[place]! });
    expect(answer.response?.user).toMatchObject({ username: people[place]!.username, isEmailVerified: true });
    expect(await usernames(email)).toEqual([[people[place]!.username, true]]);
    for (const token of tokens.filter((_, index) => index !== place)) {
      expect((await waybill.grpc.call(verifyEmail, { token })).code).toBe(Code.FAILED_PRECONDITION);
    }
    expect((await waybill.grpc.call(verifyEmail, { token: tokens[place]! })).code).toBe(Code.OK);
  });

  it('that are verified at the same instant leave one with the address', async () => {
    const { email, people, tokens } = await waiting(4);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => waybill.callers[index % 2]!.call(verifyEmail, { token: tokens[index % 4]! })),
    );
    const owners = new Set(answers.flatMap(({ response }) => response?.user?.username ?? []));
    expect(owners.size).toBe(1);
    expect(people.map(({ username }) => username)).toContain([...owners][0]);
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK, Code.FAILED_PRECONDITION]));
    expect(await usernames(email)).toEqual([[[...owners][0], true]]);
  });

  it('have the link that is asked for again mailed for the newest', async () => {
    const { email, people } = await waiting(2);
    expect((await waybill.http.call(resendVerificationEmail, { email })).code).toBe(Code.OK);
    const { token } = await waybill.mail.mailTo(email, 3);
    expect((await waybill.http.call(verifyEmail, { token })).response?.user).toMatchObject({ username: people[1]!.username });
  });
});

describe('a sign-up with the address of an account', () => {
  it('is told to its owner, at most once an hour, and mails no link', async () => {
    const { person: owner } = await verified();
    const strangers = Array.from({ length: 6 }, (_, index) => ({
      ...somebody(),
      email: index % 2 ? owner.email : owner.email.toUpperCase(),
      fullName: 'Your parcel is held. Pay at www.evil.example',
    }));
    const answers = await Promise.all(strangers.map((stranger, index) => waybill.callers[index % 2]!.call(createUser, stranger)));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([Code.OK]));
    const notice = await waybill.mail.mailTo(owner.email, 2);
    expect(notice.subject).toBe('Somebody tried to sign up with your e-mail address');
    for (const text of [notice.text, notice.html]) {
      expect(text).toContain(owner.username);
      expect(text).toContain('nothing has changed');
      for (const chosen of ['http', 'parcel', 'evil', ...strangers.map(({ username }) => username)]) expect(text).not.toContain(chosen);
    }
    await waybill.idle();
    await waybill.http.call(resendVerificationEmail, { email: owner.email });
    await waybill.idle();
    expect(waybill.mail.mailsTo(owner.email)).toHaveLength(2);

    await waybill.database.query(`UPDATE users SET noticed_at = noticed_at - interval '1 hour' WHERE username = $1`, [owner.username]);
    expect((await waybill.grpc.call(createUser, { ...somebody(), email: owner.email })).code).toBe(Code.OK);
    await waybill.mail.mailTo(owner.email, 3);
    const [row] = await waybill.database.query<{ verified: boolean }>(
      'SELECT is_email_verified AS verified FROM users WHERE username = $1',
      [owner.username],
    );
    expect(row).toEqual({ verified: true });
  });

  it('tells the owner under one Message-ID when the mail server failed first', async () => {
    const { person: owner } = await verified();
    waybill.mail.when(owner.email, { refuse: 451, at: 'data' });
    await waybill.http.call(createUser, { ...somebody(), email: owner.email });
    await eventually(() => waybill.mail.triesTo(owner.email).length > 1);
    waybill.mail.when(owner.email, 'accept');
    await waybill.mail.mailTo(owner.email, 2);
    await waybill.idle();
    const [, ...notices] = waybill.mail.triesTo(owner.email);
    expect(new Set(notices.map(({ mail }) => mail?.messageId)).size).toBe(1);
    expect(waybill.mail.mailsTo(owner.email)).toHaveLength(2);
  });
});

it('sign-ups that were not verified within a day are deleted, with their links, and nothing else is', async () => {
  const [old, young, owner] = [await signedUp(), await signedUp(), await verified()];
  const ago = (email: string, time: string) =>
    waybill.database.query('UPDATE users SET created_at = now() - $2::interval WHERE email = $1', [email, time]);
  await ago(old.person.email, '25 h');
  await ago(young.person.email, '23 h');
  await ago(owner.person.email, '25 h');
  const purge = `UPDATE task_schedule SET next_at = now() WHERE type = 'account.purge_sign_ups' RETURNING type`;
  await eventually(async () => (await waybill.database.query(purge)).length === 1);
  const left = async () =>
    (
      await waybill.database.query<{ email: string }>(
        'SELECT DISTINCT email FROM email_verification WHERE email = ANY($1) AND EXISTS (SELECT FROM users WHERE users.email = email_verification.email)',
        [[old, young, owner].map(({ person }) => person.email)],
      )
    ).map(({ email }) => email);
  await eventually(async () => !(await left()).includes(old.person.email));
  expect((await left()).toSorted()).toEqual([young.person.email, owner.person.email].toSorted());
  expect((await waybill.http.call(verifyEmail, { token: old.mail.token })).code).toBe(Code.FAILED_PRECONDITION);
  expect((await waybill.http.call(verifyEmail, { token: young.mail.token })).code).toBe(Code.OK);
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

it('a link has 256 bits, no two alike, and a quarter of an hour', async () => {
  const links = await Promise.all([signedUp(), signedUp(), signedUp()]);
  const tokens = links.map(({ mail }) => mail.token);
  expect(new Set(tokens).size).toBe(3);
  for (const token of tokens) expect(Buffer.from(token, 'base64url')).toHaveLength(32);
  for (const { person } of links) {
    const [row] = await waybill.database.query<{ seconds: number }>(
      'SELECT extract(epoch FROM expires_at - created_at)::float8 AS seconds FROM email_verification WHERE email = $1',
      [person.email],
    );
    expect(row!.seconds).toBeCloseTo(900, 0);
  }
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
    const ids = async () => (await waybill.ledger()).map(({ id }) => id);
    const { person } = await signedUp();
    await waybill.idle();
    const before = new Set(await ids());
    await waybill.http.call(resendVerificationEmail, { email: person.email });
    await waybill.http.call(resendVerificationEmail, { email: somebody().email });
    await eventually(async () => (await ids()).filter((id) => !before.has(id)).length === 2);
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
      for (const email of ['nobody', 'root@localhost', 'a..b@x.com']) {
        const answer = await caller.call(resendVerificationEmail, { email });
        expect(answer).toMatchObject({ code: Code.INVALID_ARGUMENT, violations: [{ field: 'email' }] });
      }
    }
  });
});
