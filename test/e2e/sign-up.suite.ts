import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserService } from '@app/contract';
import { type Caller, Code } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail } = UserService.method;

/** The main job, from the sign-up to the verified address: one suite for every dispatcher. */
export function describeSignUp(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`signing up, with the queues in ${dispatcher}`, () => {
    let waybill: Waybill;
    beforeAll(async () => {
      waybill = await Waybill.start(dispatcher, { environment: { VERIFY_EMAIL_DELAY: '500ms' } });
    });
    afterAll(() => waybill?.close());

    const callerOf = (transport: Caller['transport']): Caller => waybill[transport];
    const signUp = async (transport: Caller['transport'], requestId: string) => {
      const person = somebody();
      const answer = await callerOf(transport).call(createUser, person, { 'x-request-id': requestId });
      return { person, answer };
    };

    it.each(['http', 'grpc'] as const)('mails the link that verifies the address, over %s', async (transport) => {
      const requestId = `sign-up-${dispatcher}-${transport}`;
      const begin = Date.now();
      const { person, answer } = await signUp(transport, requestId);
      const { username, fullName, email } = person;

      expect(answer).toMatchObject({ code: Code.OK, requestId });
      expect(answer.response?.user).toMatchObject({ username, fullName, email, isEmailVerified: false });
      const createdAt = Number(answer.response?.user?.createdAt?.seconds) * 1_000;
      expect(Math.abs(createdAt - begin)).toBeLessThan(10_000);

      const mail = await waybill.mail.mailTo(email);
      expect(Date.now() - begin).toBeGreaterThanOrEqual(500);
      const completed = await waybill.worker.line((line) => line.msg === 'task completed' && line['requestId'] === requestId);
      expect(completed).toMatchObject({ taskType: 'account.send_verification_email', queue: 'critical', attempt: 1 });
      expect(mail.messageId).toBe(`<${String(completed['taskId'])}@waybill.test>`);
      // Nothing that whoever signed up has chosen: it may be a stranger who writes to somebody through us.
      for (const chosen of [username, fullName, 'Zoë']) expect(mail.text + mail.html + mail.recipient).not.toContain(chosen);
      expect(mail.html).toContain(`href="${mail.link}"`);
      expect(mail.html).toContain(`>${mail.link}</a>`);
      expect(waybill.pathOf(mail.link)).toBe(`/verify-email?token=${mail.token}`);

      const first = await callerOf(transport).call(verifyEmail, { token: mail.token });
      expect(first.response?.user).toMatchObject({ username, email, isEmailVerified: true });
      const second = await callerOf(transport).call(verifyEmail, { token: mail.token });
      expect(second.response?.user).toMatchObject({ username, email, isEmailVerified: true });

      await waybill.idle();
      expect(await waybill.ledger()).toEqual([]);
      expect(waybill.mail.mailsTo(email)).toHaveLength(1);
    });

    it('asks for a click on the page of the link, which alone verifies', async () => {
      const { person } = await signUp('http', 'page');
      const { link, token } = await waybill.mail.mailTo(person.email);
      const isVerified = async () =>
        (await waybill.database.query<{ is_email_verified: boolean }>('SELECT * FROM users WHERE email = $1', [person.email]))[0]
          ?.is_email_verified;
      const click = () => waybill.fetch('/verify-email', { method: 'POST', body: new URLSearchParams({ token }) });

      // Mail scanners follow links, and some ask for the head alone.
      for (const method of ['GET', 'HEAD', 'GET']) expect((await waybill.fetch(waybill.pathOf(link), { method })).status).toBe(200);
      const page = await (await waybill.fetch(waybill.pathOf(link))).text();
      expect(page).toContain('<form method="post" action="verify-email">');
      expect(page).toMatch(/<button type="submit">/);
      expect(await isVerified()).toBe(false);

      const clicked = await click();
      expect([clicked.status, await clicked.text()]).toEqual([200, expect.stringContaining('Your e-mail address is verified')]);
      expect(await isVerified()).toBe(true);
      const again = await click();
      expect([again.status, await again.text()]).toEqual([200, expect.stringContaining('Your e-mail address is verified')]);
    });

    it('says nothing of the password, on either transport', async () => {
      for (const transport of ['http', 'grpc'] as const) {
        const { person, answer } = await signUp(transport, 'hash');
        expect(Object.keys(answer.response?.user ?? {}).sort()).toEqual([
          '$typeName',
          'createdAt',
          'email',
          'fullName',
          'isEmailVerified',
          'roles',
          'username',
        ]);
        // Also no field that our schema does not know, which a decoder would have put aside.
        expect(answer.response?.user?.$unknown).toBeUndefined();
        await waybill.mail.mailTo(person.email);
      }
      const response = await waybill.fetch('/v1/users', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(somebody()),
      });
      const body = (await response.json()) as { user: object };
      expect(Object.keys(body.user).sort()).toEqual(['createdAt', 'email', 'fullName', 'isEmailVerified', 'roles', 'username']);
    });
  });
}
