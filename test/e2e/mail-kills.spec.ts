import { UserService } from '@app/contract';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { somebody } from '../support/people.js';
import { account, logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { changeEmail, changePassword, createUser, requestPasswordReset } = UserService.method;

/** The mails that one person's wishes lead to, each a task of a type of its own. */
const TYPES = ['send_email_change', 'send_notice', 'send_password_reset', 'send_verification_email'].map((name) => `account.${name}`);

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres');
  await waybill.startApi();
});
afterAll(() => waybill?.close());

it.each([
  'worker.after-fetch',
  'worker.in-handler',
  'mail.before-send',
  'mail.after-accepted',
  'worker.before-completion',
  'worker.after-completion',
])(
  'a worker that is killed at %s with every kind of mail in its hands loses none, and a second one is the same mail',
  { timeout: 120_000 },
  async (point) => {
    const [person, other] = [await account(waybill), await account(waybill)];
    // The mails of these sign-ups are none of those that are looked at.
    await waybill.database.query('DELETE FROM task');
    const [{ headers }, { headers: headersOfOther }] = [await logIn(waybill.http, person), await logIn(waybill.grpc, other)];
    const [newEmail, newcomer] = [somebody().email, somebody()];
    for (const answer of [
      await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers),
      await waybill.grpc.call(changePassword, { currentPassword: other.password, newPassword: `new ${other.password}` }, headersOfOther),
      await waybill.grpc.call(requestPasswordReset, { email: person.email }),
      await waybill.grpc.call(createUser, newcomer),
    ]) {
      expect(answer.code).toBe(Code.OK);
    }
    const tasks = await waybill.database.query<{ id: string; type: string }>('SELECT id, type FROM task ORDER BY type');
    expect(tasks.map(({ type }) => type)).toEqual(TYPES);

    const victim = waybill.run('worker', { FAULTS: `${point}:kill@${TYPES.length}`, NODE_ENV: 'test' });
    expect(await victim.end(60_000)).toBe('SIGKILL');
    // As soon as it is known that the worker is lost; to find that out takes 15 s, and is tested elsewhere.
    await waybill.database.query('DELETE FROM task_worker');
    const rescuer = await waybill.startWorker();
    await waybill.idle(60_000);
    expect(await rescuer.stop()).toBe(0);

    const mails = [person.email, other.email, newEmail, newcomer.email].flatMap((address) => waybill.mail.mailsTo(address));
    const copies = Map.groupBy(mails, ({ messageId }) => messageId);
    expect([...copies.keys()].sort()).toEqual(tasks.map(({ id }) => `<${id}@waybill.test>`).sort());
    for (const same of copies.values()) {
      expect(new Set(same.map(({ to, subject, text }) => JSON.stringify([to, subject, text]))).size).toBe(1);
      expect(same.length).toBeLessThanOrEqual(2);
    }
  },
);
