import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AppProcess, ERROR, WARN } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { ConsoleClient } from '../support/console.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { PrivatePostgres } from '../support/private-postgres.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail } = UserService.method;
/** Which of them it is depends on how far the server has come when it is asked. */
const WAITING = /^the database at 127\.0\.0\.1:\d+ cannot (be reached|serve now).*; waiting for it$/;

/** A database that is not there, at the start or later: one suite for every dispatcher. */
export function describeDatabaseOutage(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`an outage of Postgres, with the queues in ${dispatcher}`, { timeout: 120_000 }, () => {
    let postgres: PrivatePostgres;
    let waybill: Waybill;
    let port: number;
    let probes: number;
    const password = 'a password of operators';
    beforeAll(async () => {
      [port, probes] = [await freePort(), await freePort()];
      postgres = await PrivatePostgres.start();
      waybill = await Waybill.create(dispatcher, { database: postgres.database() });
      expect(await waybill.run('migrate').end()).toBe(0);
    });
    afterAll(() => waybill?.close());

    const statusOf = (path: string) =>
      waybill.fetch(path).then(
        ({ status }) => status,
        () => 'nobody listens',
      );
    const ofWorker = (path: string) => fetch(`http://127.0.0.1:${probes}${path}`).then(({ status }) => status);
    const linesOf = (app: AppProcess, text: RegExp) => app.lines.filter(({ msg }) => text.test(msg));

    it('from the start: both apps wait, say so once, and come up when it does', async () => {
      await postgres.stop();
      const api = waybill.run('api');
      const worker = waybill.run('worker', {
        CONSOLE_PORT: String(port),
        CONSOLE_PASSWORD: password,
        WORKER_HTTP_PORT: String(probes),
      });
      for (const app of [api, worker]) {
        expect(await app.line(({ msg }) => WAITING.test(msg))).toMatchObject({
          level: WARN,
          msg: expect.stringContaining('DATABASE_URL says that it is there'),
        });
      }
      // Several of their attempts later.
      const lateEnough = Date.now() + 2_500;
      await eventually(() => Date.now() > lateEnough);
      for (const app of [api, worker]) {
        expect(app.isRunning).toBe(true);
        expect(linesOf(app, WAITING)).toHaveLength(1);
      }

      expect([await ofWorker('/readyz'), await ofWorker('/healthz')]).toEqual([503, 200]);

      await postgres.start();
      await waybill.serving(api);
      await worker.line(({ msg }) => msg === 'task processor started');
      const person = somebody();
      expect((await waybill.grpc.call(createUser, person)).code).toBe(Code.OK);
      await waybill.mail.mailTo(person.email);
      await waybill.idle();
    });

    it('later: calls are UNAVAILABLE, /readyz says so, /healthz does not, and all of it recovers without a restart', async () => {
      await waybill.retryQuickly(3_000);
      const before = somebody();
      waybill.mail.when(before.email, { refuse: 451, at: 'data' });
      await waybill.http.call(createUser, before);
      await eventually(() => waybill.mail.triesTo(before.email).length === 1);
      const { token } = waybill.mail.triesTo(before.email)[0]!.mail!;
      await eventually(async () => (await waybill.ledger())[0]?.failures === 1);
      const operator = await ConsoleClient.logIn(`http://127.0.0.1:${port}`, password);
      expect((await operator.ask('overview', {})).queues).toHaveLength(2);

      await postgres.stop();
      await eventually(() =>
        operator.ask('schedules', {}).then(
          () => false,
          ({ message }: Error) => message === '503: the database does not answer',
        ),
      );
      await expect(operator.command('pauseQueue', { queue: 'default' })).rejects.toThrow('503: the database does not answer');
      for (const caller of waybill.callers) {
        const begin = performance.now();
        expect(await caller.call(createUser, somebody())).toMatchObject({
          code: Code.UNAVAILABLE,
          message: 'try again in a moment',
          violations: [],
        });
        expect((await caller.call(verifyEmail, { token })).code).toBe(Code.UNAVAILABLE);
        expect(performance.now() - begin).toBeLessThan(10_000);
      }
      for (const page of [
        waybill.fetch(`/verify-email?token=${token}`),
        waybill.fetch('/verify-email', { method: 'POST', body: new URLSearchParams({ token }) }),
      ]) {
        const { status, text } = await page.then(async (response) => ({ status: response.status, text: await response.text() }));
        expect([status, text]).toEqual([503, expect.stringContaining('Your link is still fine')]);
      }
      const asked = await waybill.fetch('/verify-email/new', { method: 'POST', body: new URLSearchParams({ email: before.email }) });
      expect([asked.status, await asked.text()]).toEqual([503, expect.stringContaining('Please try again in a moment')]);
      expect([await statusOf('/readyz'), await statusOf('/healthz')]).toEqual([503, 200]);
      expect([await ofWorker('/readyz'), await ofWorker('/healthz')]).toEqual([503, 200]);
      await waybill.worker.line(({ msg }) => msg === 'connection lost');

      await postgres.start();
      await eventually(async () => (await statusOf('/readyz')) === 200, 10_000);
      await eventually(async () => (await ofWorker('/readyz')) === 200, 10_000);
      expect((await operator.ask('overview', {})).queues).toMatchObject([{ paused: false }, { paused: false }]);
      const after = somebody();
      for (const caller of waybill.callers) {
        expect((await caller.call(createUser, caller.transport === 'http' ? after : somebody())).code).toBe(Code.OK);
      }
      await waybill.mail.mailTo(after.email);
      // The link that could not be redeemed meanwhile has lost nothing.
      expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
      // What had failed before the outage is tried again, and finds the address verified.
      await waybill.idle();
      expect(await waybill.ledger()).toEqual([]);
      expect(waybill.processes.filter(({ program, isRunning }) => program !== 'migrate' && isRunning)).toHaveLength(2);
    });

    it('is no unexpected error of anything, and is not told once a second', () => {
      for (const app of [waybill.api, waybill.worker]) {
        const troubles = app.lines.filter(({ level }) => level >= WARN);
        expect(troubles.filter(({ level }) => level >= ERROR)).toEqual([]);
        expect(troubles.length).toBeLessThanOrEqual(15);
      }
    });

    it('keeps nobody from stopping', async () => {
      await postgres.stop();
      const begin = performance.now();
      expect(await Promise.all([waybill.api.stop(), waybill.worker.stop()])).toEqual([0, 0]);
      expect(performance.now() - begin).toBeLessThan(15_000);

      // Nor does waiting for it at the start.
      const waiting = [waybill.run('api'), waybill.run('worker')];
      for (const app of waiting) await app.line(({ msg }) => WAITING.test(msg));
      const asked = performance.now();
      await Promise.all(waiting.map((app) => app.stop()));
      expect(performance.now() - asked).toBeLessThan(5_000);
    });
  });
}
