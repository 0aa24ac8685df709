import { UserService } from '@app/contract';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ERROR, WARN } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { hasPrivateRedis, PrivateRedis } from '../support/private-redis.js';
import { Waybill } from '../support/waybill.js';

if (!hasPrivateRedis) console.warn('NOT RUN: outages of Redis. There is no redis-server on PATH.');

describe.skipIf(!hasPrivateRedis)('an outage of Redis', () => {
  let waybill: Waybill;
  let redis: PrivateRedis;
  beforeAll(async () => {
    redis = await PrivateRedis.reserve();
    waybill = await Waybill.start('redis', { environment: { REDIS_ADDRESS: redis.address } });
  });
  afterAll(async () => {
    await waybill?.close();
    await redis?.kill();
  });

  const signUp = async () => {
    const person = somebody();
    const begin = performance.now();
    expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
    expect(performance.now() - begin).toBeLessThan(10_000);
    return person;
  };
  const troubles = () => waybill.worker.lines.filter(({ level }) => level >= WARN);

  it('from the start: both apps run, a sign-up answers as always, and its mail goes out when Redis is there', async () => {
    const { email } = await signUp();
    await waybill.worker.line(({ msg, source }) => msg === 'connection lost' && source === 'relay');
    expect((await waybill.ledger()).map(({ state }) => state)).toEqual(['pending']);

    await redis.start();
    await waybill.mail.mailTo(email);
    await waybill.idle();
    expect(waybill.mail.mailsTo(email)).toHaveLength(1);
    await waybill.worker.line(({ msg, source }) => msg === 'connection regained' && source === 'relay');
  });

  it('that loses everything: tasks that were waiting in it run all the same, and so do those that came meanwhile', async () => {
    await waybill.api.stop();
    await waybill.startApi({ VERIFY_EMAIL_DELAY: '4s' });
    const waiting = await signUp();
    await eventually(async () => (await waybill.ledger()).every(({ state }) => state === 'dispatched'));
    await redis.kill();
    const meanwhile = await signUp();
    await redis.start();
    for (const { email } of [waiting, meanwhile]) await waybill.mail.mailTo(email);
    await waybill.idle();
    expect(await waybill.ledger()).toEqual([]);
    for (const { email } of [waiting, meanwhile]) {
      expect(new Set(waybill.mail.mailsTo(email).map(({ messageId }) => messageId)).size).toBe(1);
    }
  });

  it('is told once by whoever notices it, and not once a second', () => {
    // Two outages, noticed by the relay, the reconciler and the two queues.
    expect(troubles().filter(({ msg }) => msg === 'connection lost').length).toBeLessThanOrEqual(2 * 4);
    expect(troubles().length).toBeLessThanOrEqual(12);
    expect(troubles().filter(({ level }) => level >= ERROR)).toEqual([]);
    expect(waybill.api.lines.filter(({ level }) => level >= WARN)).toEqual([]);
  });

  it('lets no operator cancel by halves, and pauses a queue as soon as it is back', async () => {
    const { email } = await signUp();
    const [task] = await eventually(async () => {
      const tasks = await waybill.ledger();
      return tasks.every(({ state }) => state === 'dispatched') && tasks;
    });
    await redis.kill();
    const [cancelled, shown] = await Promise.all([waybill.tasks('cancel', task!.id), waybill.tasks('show', task!.id)]);
    expect(shown).toMatchObject({ code: 0, output: expect.stringContaining('the dispatcher does not answer') });
    for (const { code, output } of [cancelled, await waybill.tasks('pause', 'critical')]) {
      expect(output).toContain('the dispatcher did not answer');
      expect(output).toContain(`is Redis running at ${waybill.environment['REDIS_ADDRESS']}, where REDIS_ADDRESS says it is?`);
      expect(output).not.toContain('ECONNREFUSED');
      expect(code).toBe(1);
    }
    expect(await waybill.ledger()).toHaveLength(1);

    await redis.start();
    const client = new Redis(waybill.environment['REDIS_ADDRESS']!);
    await eventually(() => client.hget(`{${waybill.environment['REDIS_PREFIX']}-critical}:critical:meta`, 'paused'));
    client.disconnect();
    expect(waybill.mail.mailsTo(email)).toEqual([]);
    expect((await waybill.tasks('resume', 'critical')).code).toBe(0);
    await waybill.mail.mailTo(email);
  });

  it('keeps nobody from stopping', async () => {
    await redis.kill();
    const { email } = await signUp();
    const begin = performance.now();
    expect(await Promise.all([waybill.api.stop(), waybill.worker.stop()])).toEqual([0, 0]);
    expect(performance.now() - begin).toBeLessThan(15_000);

    await redis.start();
    await waybill.startWorker();
    await waybill.mail.mailTo(email);
  });
});
