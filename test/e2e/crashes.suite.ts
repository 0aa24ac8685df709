import { UserService } from '@app/contract';
import { describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail } = UserService.method;

/** A crashed worker's tasks are found after its lease, at most 30 s later. */
const FOUND_WITHIN = 40_000;

/** The connection of the elected worker. */
const ELECTED = `
  SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype = 'advisory' AND classid = 730945301 AND granted AND datname = current_database()`;

/** Processes that are killed in the middle of the main job: one suite for every dispatcher. */
export function describeCrashes(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`a crash, with the queues in ${dispatcher}`, { concurrent: true, timeout: 120_000 }, () => {
    /** What must be true of whoever signed up, whatever crashed: a mail, all of them one, and nothing left to do. */
    async function expectMailed(waybill: Waybill, email: string) {
      const mail = await waybill.mail.mailTo(email, 1, FOUND_WITHIN);
      await waybill.idle(FOUND_WITHIN);
      expect(await waybill.ledger()).toEqual([]);
      const tries = waybill.mail.triesTo(email);
      expect(new Set(tries.map((attempt) => attempt.mail?.link))).toEqual(new Set([mail.link]));
      expect(new Set(tries.map((attempt) => attempt.mail?.messageId))).toEqual(new Set([mail.messageId]));
      const answer = await waybill.grpc.call(verifyEmail, { token: mail.token });
      expect(answer.response?.user).toMatchObject({ email, isEmailVerified: true });
    }

    it('of the worker, between taking the task and sending, costs no mail', async () => {
      const waybill = await Waybill.start(dispatcher);
      try {
        const person = somebody();
        waybill.mail.when(person.email, 'hang');
        await waybill.http.call(createUser, person);
        await eventually(() => waybill.mail.triesTo(person.email).length === 1);
        waybill.worker.crash();
        expect(await waybill.worker.end()).toBe('SIGKILL');
        expect(await waybill.ledger()).toHaveLength(1);

        waybill.mail.when(person.email, 'accept');
        const worker = await waybill.startWorker();
        await expectMailed(waybill, person.email);
        expect(waybill.mail.triesTo(person.email)).toHaveLength(2);
        // It cost a crash, and not one of the attempts.
        expect(await worker.line(({ msg }) => msg === 'task completed')).toMatchObject({ attempt: 1 });
      } finally {
        await waybill.close();
      }
    });

    it('of the worker, after sending, sends the same mail again', async () => {
      const waybill = await Waybill.start(dispatcher);
      try {
        const person = somebody();
        const { worker } = waybill;
        waybill.mail.when(person.email, async () => {
          waybill.mail.when(person.email, 'accept');
          worker.crash();
          await worker.exited;
        });
        await waybill.http.call(createUser, person);
        expect(await worker.end()).toBe('SIGKILL');
        expect(waybill.mail.mailsTo(person.email)).toHaveLength(1);

        await waybill.startWorker();
        await waybill.mail.mailTo(person.email, 2, FOUND_WITHIN);
        await expectMailed(waybill, person.email);
      } finally {
        await waybill.close();
      }
    });

    it('of an elected worker that hangs, is found by the others', async () => {
      const waybill = await Waybill.start(dispatcher);
      try {
        const { worker } = waybill;
        await eventually(async () => (await waybill.database.query(ELECTED)).length === 1);
        const person = somebody();
        waybill.mail.when(person.email, 'hang');
        await waybill.http.call(createUser, person);
        await eventually(() => waybill.mail.triesTo(person.email).length === 1);
        worker.signal('SIGSTOP');
        // As if that had been more than two minutes ago.
        await waybill.database.query(`UPDATE task_worker SET lease_until = now() - interval '3 minutes'`);
        waybill.mail.when(person.email, 'accept');
        await waybill.startWorker();
        await expectMailed(waybill, person.email);
      } finally {
        await waybill.close();
      }
    });

    it('of the api, between the commit and the answer, costs no mail', async () => {
      const waybill = await Waybill.create(dispatcher);
      const url = new URL(waybill.database.url);
      const proxy = await TcpProxy.to({ host: url.hostname, port: Number(url.port) });
      try {
        url.port = String(proxy.port);
        const [api] = await Promise.all([waybill.startApi({ DATABASE_URL: url.href }), waybill.startWorker()]);
        const person = somebody();
        // The api commits, and never learns that it has.
        const committed = proxy.withholdAnswerTo('COMMIT');
        const answer = waybill.grpc.call(createUser, person);
        await committed;
        await eventually(
          async () => (await waybill.database.query('SELECT FROM users WHERE username = $1', [person.username])).length === 1,
        );
        api.crash();
        expect((await answer).code).toBe(Code.UNAVAILABLE);
        await api.end();

        await waybill.startApi();
        await expectMailed(waybill, person.email);
        expect(waybill.mail.mailsTo(person.email)).toHaveLength(1);
      } finally {
        await waybill.close();
        await proxy.close();
      }
    });
  });
}
