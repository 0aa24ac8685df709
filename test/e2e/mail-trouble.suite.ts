import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ERROR, WARN } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, resendVerificationEmail } = UserService.method;

/** Milliseconds for two sign-ups, on a machine that may be busy; whatever waited for a mail server or a worker would wait for longer. */
const AS_ALWAYS = 10_000;

/** A mail server, or a worker, that is not there or not willing: one suite for every dispatcher. */
export function describeMailTrouble(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`mail in trouble, with the queues in ${dispatcher}`, { timeout: 120_000 }, () => {
    let waybill: Waybill;
    beforeAll(async () => {
      waybill = await Waybill.create(dispatcher);
      await waybill.startApi();
    });
    afterAll(() => waybill?.close());

    const signUp = async () => {
      const person = somebody();
      const begin = performance.now();
      for (const caller of waybill.callers) {
        const answer = await caller.call(createUser, caller.transport === 'http' ? person : somebody());
        expect(answer.code).toBe(Code.OK);
      }
      expect(performance.now() - begin).toBeLessThan(AS_ALWAYS);
      return person;
    };
    const warningsOf = (taskId: string) => waybill.lines.filter((line) => line['taskId'] === taskId && line.level >= WARN);
    const taskOf = async (email: string) => {
      const [user] = await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE email = $1', [email]);
      return (await waybill.ledger()).find(({ payload }) => payload.userId === user?.id);
    };

    it('a worker that is not running: the sign-up answers as always, and the mail goes out when it is', async () => {
      const { email } = await signUp();
      expect((await waybill.ledger()).map(({ state }) => state)).toEqual(['pending', 'pending']);
      await waybill.startWorker();
      await waybill.mail.mailTo(email);
      await waybill.idle();
      expect(waybill.mail.mails).toHaveLength(2);
    });

    it('the first retry comes when asynq would make it', async () => {
      const person = somebody();
      waybill.mail.when(person.email, { refuse: 451, at: 'recipient' });
      await waybill.http.call(createUser, person);
      const task = await eventually(async () => (await taskOf(person.email))?.failures === 1 && (await taskOf(person.email)));
      const line = await waybill.worker.line((candidate) => candidate['taskId'] === task.id && candidate.level === WARN);
      expect(line).toMatchObject({ msg: 'task attempt failed', attempt: 1, maxAttempts: 11, willRetry: true });
      const wait = Date.parse(String(line['retryAt'])) - Number(line['time']);
      expect(wait).toBeGreaterThanOrEqual(14_500);
      expect(wait).toBeLessThanOrEqual(45_500);
      // The others are not to wait for it.
      expect((await waybill.tasks('cancel', task.id)).code).toBe(0);
    });

    it('a mail server that is down: the sign-up answers as always, and the mail goes out when it is back', async () => {
      await waybill.retryQuickly();
      await waybill.mail.close();
      const { email } = await signUp();
      await waybill.worker.line(({ msg, attempt }) => msg === 'task attempt failed' && attempt === 2);
      await waybill.mail.open();
      await waybill.mail.mailTo(email);
      await waybill.idle();
      expect(waybill.mail.mailsTo(email)).toHaveLength(1);
      expect(await taskOf(email)).toBeUndefined();
    });

    describe.concurrent('a mail server', () => {
      it.each(['recipient', 'data'] as const)('that refuses for good, at the %s: the task is buried, with one line', async (at) => {
        const person = somebody();
        waybill.mail.when(person.email, { refuse: 550, at });
        await waybill.http.call(createUser, person);
        const task = await eventually(async () => (await taskOf(person.email))?.state === 'dead' && (await taskOf(person.email)));
        expect(task).toMatchObject({ reason: 'retry skipped', failures: 1, error: expect.stringContaining('550') });
        await waybill.worker.line((line) => line['taskId'] === task.id && line.msg === 'task buried');
        expect(warningsOf(task.id)).toEqual([
          expect.objectContaining({
            level: ERROR,
            msg: 'task buried',
            attempt: 1,
            maxAttempts: 11,
            willRetry: false,
            reason: 'retry skipped',
          }),
        ]);
        expect(waybill.mail.triesTo(person.email)).toHaveLength(1);

        // Whoever mends their address asks for another mail, and gets one.
        waybill.mail.when(person.email, 'accept');
        await waybill.http.call(resendVerificationEmail, { email: person.email });
        await waybill.mail.mailTo(person.email);
      });

      it('that refuses for now: the same mail is tried again', async () => {
        const person = somebody();
        waybill.mail.when(person.email, { refuse: 451, at: 'data' });
        await waybill.http.call(createUser, person);
        await eventually(() => waybill.mail.triesTo(person.email).length === 3);
        waybill.mail.when(person.email, 'accept');
        const mail = await waybill.mail.mailTo(person.email);
        const tries = waybill.mail.triesTo(person.email);
        expect(tries.length).toBeGreaterThanOrEqual(4);
        for (const attempt of tries) expect(attempt.mail).toMatchObject({ link: mail.link, messageId: mail.messageId });
        await eventually(async () => (await taskOf(person.email)) === undefined);
        expect(waybill.mail.mailsTo(person.email)).toHaveLength(1);
      });

      it.each(['drop', 'hang'] as const)('that takes the mail and then seems to %s: the same mail is tried again', async (reaction) => {
        const person = somebody();
        waybill.mail.when(person.email, reaction);
        await waybill.http.call(createUser, person);
        await eventually(() => waybill.mail.triesTo(person.email).length === 1);
        waybill.mail.when(person.email, 'accept');
        const mail = await waybill.mail.mailTo(person.email);
        expect(waybill.mail.triesTo(person.email).map((attempt) => attempt.mail?.link)).toEqual([mail.link, mail.link]);
        await eventually(async () => (await taskOf(person.email)) === undefined);
      });
    });

    it('no address of anybody was logged', () => {
      for (const { output } of waybill.processes) expect(output).not.toContain('@example.com');
    });
  });
}
