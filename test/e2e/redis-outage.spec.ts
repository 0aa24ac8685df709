import { Injectable } from '@nestjs/common';
import { UserService } from '@app/contract';
import { Task, TaskAdmin, type TaskContext, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ERROR, type LogLine, WARN } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { createEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { hasPrivateRedis, PrivateRedis } from '../support/private-redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { Waybill } from '../support/waybill.js';

@Injectable()
@Task({ type: 'test.waiting', payload: z.object({ filling: z.string() }) })
class Waiting implements TaskHandler<{ filling: string }> {
  static readonly done = new Set<string>();

  async handle(_: unknown, { id }: TaskContext): Promise<void> {
    Waiting.done.add(id);
  }
}

if (!hasPrivateRedis) console.warn('NOT RUN: outages of Redis. There is no redis-server on PATH.');

describe.skipIf(!hasPrivateRedis)('an outage of Redis', () => {
  let waybill: Waybill;
  let redis: PrivateRedis;
  let next: PrivateRedis;
  let proxy: TcpProxy;
  beforeAll(async () => {
    [redis, next] = [await PrivateRedis.reserve(), await PrivateRedis.reserve()];
    waybill = await Waybill.start('redis', { environment: { REDIS_ADDRESS: redis.address } });
  });
  afterAll(async () => {
    await waybill?.close();
    await proxy?.close();
    await Promise.all([redis?.kill(), next?.kill()]);
  });

  const signUp = async () => {
    const person = somebody();
    const begin = performance.now();
    expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
    expect(performance.now() - begin).toBeLessThan(10_000);
    return person;
  };
  const troubles = () => waybill.worker.lines.filter(({ level }) => level >= WARN);
  const textOf = ({ err }: LogLine) => String((err as Error | undefined)?.message);
  const keyOf = (queue: string, name: string) => `{${waybill.environment['REDIS_PREFIX']}-${queue}}:${queue}:${name}`;
  /** What the worker says from now on. */
  const news = () => {
    const { worker } = waybill;
    const begin = worker.lines.length;
    return (fits: (line: LogLine) => boolean) => eventually(() => worker.lines.slice(begin).find(fits));
  };

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
    // Redis has it: what is marked, and whose handover then fails, is pending again, and nobody asks Redis about it.
    await eventually(async () => (await redis.ask('ZCARD', keyOf('critical', 'delayed'))) === 1);
    const [task] = await waybill.ledger();
    await redis.kill();
    const cancelled = await waybill.tasks('cancel', task!.id);
    // It is due by now: before, that it is not would be all that there is to say.
    const shown = await waybill.tasks('show', task!.id);
    expect(shown).toMatchObject({ code: 0, output: expect.stringContaining('the dispatcher does not answer') });
    for (const { code, output } of [cancelled, await waybill.tasks('pause', 'critical')]) {
      expect(output).toContain('the dispatcher did not answer');
      expect(output).toContain(`is Redis running at ${waybill.environment['REDIS_ADDRESS']}, where REDIS_ADDRESS says it is?`);
      expect(output).not.toContain('ECONNREFUSED');
      expect(code).toBe(1);
    }
    expect(await waybill.ledger()).toHaveLength(1);

    await redis.start();
    await eventually(() => redis.ask('HGET', keyOf('critical', 'meta'), 'paused'));
    expect(waybill.mail.mailsTo(email)).toEqual([]);
    expect((await waybill.tasks('resume', 'critical')).code).toBe(0);
    await waybill.mail.mailTo(email);
  });

  /** How Redis can be there and say no, and what ends that. */
  const refusals: Record<string, { begin(): Promise<unknown>; end(): Promise<unknown> }> = {
    OOM: {
      begin: () => redis.ask('CONFIG', 'SET', 'maxmemory', 1),
      end: () => redis.ask('CONFIG', 'SET', 'maxmemory', 0),
    },
    MISCONF: {
      begin: async () => {
        redis.loseDisk();
        await redis.ask('CONFIG', 'SET', 'save', '3600 1');
        await redis.ask('BGSAVE');
        await eventually(async () => String(await redis.ask('INFO', 'persistence')).includes('rdb_last_bgsave_status:err'));
      },
      end: () => redis.ask('CONFIG', 'SET', 'save', ''),
    },
    NOPERM: {
      begin: () => redis.ask('ACL', 'SETUSER', 'default', '-@write'),
      end: () => redis.ask('ACL', 'SETUSER', 'default', '+@all'),
    },
    BUSY: {
      begin: async () => {
        await redis.ask('CONFIG', 'SET', 'lua-time-limit', 100);
        void redis.occupy();
      },
      end: () => redis.ask('SCRIPT', 'KILL'),
    },
    NOAUTH: {
      begin: async () => {
        await redis.ask('CONFIG', 'SET', 'requirepass', 'secret');
        await redis.ask('CLIENT', 'KILL', 'TYPE', 'normal');
      },
      end: () => redis.ask('CONFIG', 'SET', 'requirepass', ''),
    },
    'max number of clients': {
      begin: async () => {
        await redis.ask('CONFIG', 'SET', 'maxclients', 1);
        await redis.ask('CLIENT', 'KILL', 'TYPE', 'normal');
      },
      end: () => redis.ask('CONFIG', 'SET', 'maxclients', 1_000),
    },
  };

  it('that is none, but a no: it is told, what came meanwhile runs afterwards, and nothing is counted', { timeout: 180_000 }, async () => {
    const people = [];
    for (const [no, { begin, end }] of Object.entries(refusals)) {
      const running = await signUp();
      const sent = Promise.withResolvers<void>();
      waybill.mail.when(running.email, () => sent.promise);
      await eventually(() => waybill.mail.triesTo(running.email).length === 1);
      const said = news();
      await begin();
      const meanwhile = await signUp();
      await said((line) => line.level === WARN && (textOf(line).includes(no) || line.msg === 'connection lost'));
      // The attempt of this one ends while nobody can be told of it.
      sent.resolve();
      await waybill.mail.mailTo(running.email);
      await eventually(async () => (await waybill.ledger()).length === 1);
      await end();
      await waybill.mail.mailTo(meanwhile.email, 1, 15_000);
      await waybill.idle();
      await eventually(async () => (await redis.ask('LLEN', keyOf('critical', 'active'))) === 0, 10_000);
      people.push(running, meanwhile);
    }
    for (const { email } of people) expect(waybill.mail.triesTo(email)).toHaveLength(1);
    expect(waybill.worker.lines.filter(({ msg }) => msg.startsWith('a worker was lost'))).toEqual([]);
    for (const { attempt } of waybill.worker.lines.filter(({ msg }) => msg === 'task completed')) expect(attempt).toBe(1);
  });

  it('for it is full of what has ended: that is forgotten before its time', async () => {
    // Some 10 MB of jobs that have just ended, as BullMQ keeps them.
    const ended = `for i = 1, 10000 do
      redis.call('HSET', KEYS[1] .. i, 'data', ARGV[1])
      redis.call('ZADD', KEYS[2], ARGV[2], 'ended-' .. i)
    end`;
    await redis.ask('EVAL', ended, 2, keyOf('critical', 'ended-'), keyOf('critical', 'completed'), 'x'.repeat(1_000), Date.now());
    const used = Number(/used_memory:(\d+)/.exec(String(await redis.ask('INFO', 'memory')))![1]);
    await redis.ask('CONFIG', 'SET', 'maxmemory', used - 1_000_000);
    const { email } = await signUp();
    await waybill.mail.mailTo(email, 1, 15_000);
    await redis.ask('CONFIG', 'SET', 'maxmemory', 0);
  });

  it('for it is full of what waits: all of it runs, in turns', { timeout: 90_000 }, async () => {
    const engine = await createEngine('redis');
    try {
      const app = await engine.worker([Waiting], { REDIS_ADDRESS: redis.address, WORKER_CONCURRENCY: '2' });
      const [tasks, admin] = [app.get(TaskDistributor, { strict: false }), app.get(TaskAdmin, { strict: false })];
      // What runs frees memory with its end, enough for the next one: nothing runs.
      await admin.pause('default');
      const filling = 'x'.repeat(4_000);
      await Promise.all(Array.from({ length: 1_500 }, () => tasks.distribute(Waiting, { filling })));
      await eventually(async () => (await engine.database.query(`SELECT FROM task WHERE state = 'pending'`)).length === 0);
      const used = Number(/used_memory:(\d+)/.exec(String(await redis.ask('INFO', 'memory')))![1]);
      await redis.ask('CONFIG', 'SET', 'maxmemory', used - 1_000_000);
      await admin.resume('default');
      await eventually(async () => (await engine.database.query('SELECT FROM task')).length === 0, 60_000);
      expect(Waiting.done.size).toBe(1_500);
    } finally {
      await redis.ask('CONFIG', 'SET', 'maxmemory', 0);
      await engine.close();
    }
  });

  it('raises no alarm where nothing is: each is told once a source', () => {
    // A connection that is idle is not one that does not answer.
    expect(troubles().filter((line) => textOf(line).includes('Socket timeout'))).toEqual([]);
    for (const source of ['relay', 'reconciler', 'critical', 'default']) {
      const said = waybill.worker.lines.filter((line) => line['source'] === source && /^connection (lost|regained)$/.test(line.msg));
      const lost = said.map(({ msg }) => msg === 'connection lost');
      expect(lost.filter((isLost, index) => isLost && lost[index - 1])).toEqual([]);
    }
  });

  it('keeps nobody from stopping', async () => {
    const said = news();
    await redis.kill();
    const { email } = await signUp();
    // By then the worker has asked a Redis that is not there for more.
    for (const queue of ['critical', 'default']) await said(({ msg, source }) => msg === 'connection lost' && source === queue);
    const begin = performance.now();
    expect(await Promise.all([waybill.api.stop(), waybill.worker.stop()])).toEqual([0, 0]);
    expect(performance.now() - begin).toBeLessThan(15_000);

    await redis.start();
    proxy = await TcpProxy.to(redis);
    await Promise.all([waybill.startApi(), waybill.startWorker({ REDIS_ADDRESS: `127.0.0.1:${proxy.port}` })]);
    await waybill.mail.mailTo(email);
  });

  it('of which the worker is not told: its connections stay, and lead to what has become a replica', async () => {
    await next.start();
    await next.ask('REPLICAOF', redis.host, redis.port);
    await eventually(async () => String(await next.ask('INFO', 'replication')).includes('master_link_status:up'));
    const running = await signUp();
    const sent = Promise.withResolvers<void>();
    // The mailer gives up a server that is silent for ten seconds.
    waybill.mail.when(running.email, () => sent.promise);
    await eventually(() => waybill.mail.triesTo(running.email).length === 1);

    await redis.ask('WAIT', 1, 5_000);
    await next.ask('REPLICAOF', 'NO', 'ONE');
    await redis.ask('REPLICAOF', next.host, next.port);
    proxy.target = next;
    const meanwhile = await signUp();
    sent.resolve();
    await waybill.mail.mailTo(meanwhile.email, 1, 15_000);
    await waybill.mail.mailTo(running.email);
    await waybill.idle();
    expect(waybill.mail.triesTo(running.email)).toHaveLength(1);
    // The end of what ran was told to the new one.
    await eventually(async () => (await next.ask('LLEN', keyOf('critical', 'active'))) === 0, 10_000);
    expect(waybill.worker.lines.filter(({ msg }) => msg.startsWith('a worker was lost'))).toEqual([]);
  });
});
