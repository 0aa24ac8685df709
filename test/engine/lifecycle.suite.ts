import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type INestApplicationContext, Injectable, Logger, Scope } from '@nestjs/common';
import {
  type DeadTask,
  type DistributeOptions,
  RetryIn,
  SkipRetry,
  StaleAttempt,
  Task,
  TaskAdmin,
  type TaskContext,
  TaskDistributor,
  type TaskHandler,
  TaskQueues,
} from '@app/tasks';
import pg from 'pg';
import type { EntityManager } from 'typeorm';
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { createEngine, type Dispatcher, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string() });
type Payload = z.output<typeof payload>;
type Script = (task: TaskContext) => unknown;

const calls: { key: string; task: TaskContext; at: number }[] = [];
const scripts = new Map<string, Script>();
const deaths: { payload: unknown; task: DeadTask }[] = [];
const callsOf = (key: string) => calls.filter((call) => call.key === key);

class Scripted implements TaskHandler<Payload> {
  async handle({ key }: Payload, task: TaskContext): Promise<unknown> {
    calls.push({ key, task, at: Date.now() });
    return scripts.get(key)?.(task);
  }

  async onDead(dead: unknown, task: DeadTask, manager: EntityManager): Promise<void> {
    await manager.query('INSERT INTO death VALUES ($1)', [task.id]);
    deaths.push({ payload: dead, task });
  }
}

@Injectable()
@Task({ type: 'test.ordinary', payload, maxRetry: 2, backoff: { type: 'fixed', delay: 20 } })
class Ordinary extends Scripted {}

@Injectable()
@Task({ type: 'test.urgent', queue: 'critical', payload, maxRetry: 0 })
class Urgent extends Scripted {}

@Injectable()
@Task({ type: 'test.ticking', payload: z.object({}), schedule: { cron: '* * * * * *' } })
class Ticking implements TaskHandler<object> {
  async handle(_: object, task: TaskContext): Promise<void> {
    calls.push({ key: 'tick', task, at: Date.now() });
  }
}

/** Whether the payload of the task below is taken. */
let healthy = true;

@Injectable()
@Task({ type: 'test.ailing', payload: z.object({}).refine(async () => healthy), schedule: { cron: '* * * * * *' } })
class Ailing implements TaskHandler<object> {
  async handle(_: object, task: TaskContext): Promise<void> {
    calls.push({ key: 'ailing', task, at: Date.now() });
  }
}

@Injectable()
@Task({
  type: 'test.versioned',
  payload: z.object({ name: z.string() }),
  version: 2,
  upcast: (old) => ({ name: (old as { title: string }).title }),
})
class Versioned implements TaskHandler<{ name: string }> {
  async handle({ name }: { name: string }, task: TaskContext): Promise<void> {
    calls.push({ key: name, task, at: Date.now() });
  }
}

/** What the engine promises about crashes, losses, shutdowns and operators: one suite for every dispatcher. */
export function describeLifecycle(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`the life of tasks on ${dispatcher}`, () => {
    let engine: TestEngine;
    /** The state of a task that the dispatcher has. */
    const handedOut = dispatcher === 'redis' ? 'dispatched' : 'pending';
    beforeAll(() => {
      // The other dispatcher's run of this suite may have left something.
      calls.length = 0;
      deaths.length = 0;
      scripts.clear();
    });
    beforeEach(async () => {
      engine = await createEngine(dispatcher);
      await engine.database.query('CREATE TABLE death (task uuid)');
    });
    afterEach(() => engine.close());

    const tasksOf = (app: INestApplicationContext) => app.get(TaskDistributor, { strict: false });
    const adminOf = (app: INestApplicationContext) => app.get(TaskAdmin, { strict: false });
    const row = async (id: string) =>
      (
        await engine.database.query<{ state: string; reason: string; crashes: number; generation: number; progress: unknown }>(
          'SELECT * FROM task WHERE id = $1',
          [id],
        )
      )[0];
    const gone = (id: string) => eventually(async () => (await row(id)) === undefined);
    const all = () => engine.database.query<{ id: string }>('SELECT id FROM task');
    const allHandedOut = () =>
      eventually(async () => (await engine.database.query('SELECT id FROM task WHERE state <> $1 LIMIT 1', [handedOut])).length === 0);
    /** Has a task that was put off run now. */
    const makeDue = async (app: INestApplicationContext, id: string) => {
      if (dispatcher === 'redis') return (await app.get(TaskQueues, { strict: false }).of('default').getJob(id))!.promote();
      await engine.database.query(`UPDATE task SET run_at = now() WHERE id = $1`, [id]);
      await engine.database.query(`NOTIFY waybill_task, 'default'`);
    };
    const empty = () => eventually(async () => (await all()).length === 0);

    it('shares saturated slots by the weights: within 1 % over the run, within 5 tasks at every moment', async () => {
      const total = 3_000;
      const relay = await engine.worker([]);
      await Promise.all(['critical', 'default'].map((queue) => adminOf(relay).pause(queue)));
      const prefix = randomUUID();
      scripts.set(prefix, () => wait(0.5 + Math.random()));
      for (let batch = 0; batch < total / 100; batch++) {
        await Promise.all(
          Array.from({ length: 100 }, (_, index) => tasksOf(relay).distribute(index % 2 ? Ordinary : Urgent, { key: prefix })),
        );
      }
      await allHandedOut();
      await relay.close();
      const app = await engine.worker([Ordinary, Urgent], { WORKER_CONCURRENCY: '15' });
      await Promise.all(['critical', 'default'].map((queue) => adminOf(app).resume(queue)));
      await empty();
      const order = callsOf(prefix).map(({ task }) => task.queue);
      expect(order).toHaveLength(total);
      // From when both queues are resumed until the critical one runs out, two of three tasks are critical.
      const criticalAt = order.flatMap((queue, index) => (queue === 'critical' ? [index] : []));
      const bothRun = Math.max(order.indexOf('critical'), order.indexOf('default')) + 30;
      const contended = order.slice(bothRun, criticalAt.at(-40));
      let critical = 0;
      let worst = 0;
      for (const [index, queue] of contended.entries()) {
        if (queue === 'critical') critical += 1;
        worst = Math.max(worst, Math.abs(critical - ((index + 1) * 2) / 3));
      }
      expect(worst).toBeLessThan(5);
      expect(Math.abs(critical / contended.length - 2 / 3)).toBeLessThan(0.01);
    });

    it('gives a lone queue every slot, and an urgent task the first that frees, or a reserved one at once', async () => {
      const app = await engine.worker([Ordinary, Urgent], { WORKER_CONCURRENCY: '4' });
      const tasks = tasksOf(app);
      const key = randomUUID();
      const releases: (() => void)[] = [];
      scripts.set(key, () => new Promise<void>((resolve) => releases.push(resolve)));
      await Promise.all(Array.from({ length: 8 }, () => tasks.distribute(Ordinary, { key })));
      await eventually(() => callsOf(key).length === 4);
      const urgent = randomUUID();
      const { id: urgentId } = await tasks.distribute(Urgent, { key: urgent });
      const distributedAt = Date.now();
      // The worker knows of it: its blocking read has brought it, and given it back, or has ended, and slots look themselves.
      await eventually(async () => {
        return (
          (await adminOf(app).show(urgentId))?.job === 'waiting' && Date.now() > distributedAt + (dispatcher === 'redis' ? 6_000 : 200)
        );
      });
      expect(callsOf(urgent)).toHaveLength(0);
      releases.shift()!();
      await eventually(() => callsOf(urgent).length === 1);
      while ((await all()).length > 0) {
        releases.splice(0).forEach((release) => release());
        await wait(20);
      }
      expect(callsOf(key)).toHaveLength(8);
      await app.close();

      const reserved = await engine.worker([Ordinary, Urgent], { WORKER_CONCURRENCY: '4', QUEUE_WEIGHTS: 'critical=10:min=1,default=5' });
      const held = randomUUID();
      scripts.set(held, scripts.get(key)!);
      await Promise.all(Array.from({ length: 8 }, () => tasksOf(reserved).distribute(Ordinary, { key: held })));
      await eventually(() => callsOf(held).length === 3);
      const atOnce = randomUUID();
      await tasksOf(reserved).distribute(Urgent, { key: atOnce });
      await eventually(() => callsOf(atOnce).length === 1);
      expect(callsOf(held)).toHaveLength(3);
      while ((await all()).length > 0) {
        releases.splice(0).forEach((release) => release());
        await wait(20);
      }
    });

    it('in strict mode serves a lesser queue only when the greater one is empty', async () => {
      const app = await engine.worker([Ordinary, Urgent], { WORKER_CONCURRENCY: '2', QUEUE_WEIGHTS: 'strict:critical=10,default=5' });
      await Promise.all(['critical', 'default'].map((queue) => adminOf(app).pause(queue)));
      const key = randomUUID();
      scripts.set(key, () => wait(50));
      for (let count = 0; count < 20; count++) {
        for (const task of [Ordinary, Urgent]) await tasksOf(app).distribute(task, { key });
      }
      await allHandedOut();
      // One after the other: resumed at once, a slot may find the lesser queue before the greater one is known to be resumed.
      await adminOf(app).resume('critical');
      await eventually(() => callsOf(key).length >= 2);
      await adminOf(app).resume('default');
      expect(callsOf(key).length).toBeLessThan(16);
      await empty();
      const order = callsOf(key).map(({ task }) => task.queue);
      expect(order).toHaveLength(40);
      // At its end one slot may find the greater queue empty while the other is still given its last tasks.
      const contended = order.slice(0, order.lastIndexOf('critical') - 1);
      expect(contended.length).toBeGreaterThan(10);
      expect(new Set(contended)).toEqual(new Set(['critical']));
    });

    it('aborts the signal at the deadline, and buries what would be tried again after it', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      const deadline = new Date(Date.now() + 1_500);
      let abortedAt = 0;
      scripts.set(
        key,
        (task) =>
          new Promise((_, reject) => {
            task.signal.addEventListener('abort', () => {
              abortedAt = Date.now();
              reject(task.signal.reason as Error);
            });
          }),
      );
      const { id } = await tasksOf(app).distribute(Ordinary, { key }, { deadline });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect((await row(id))?.reason).toBe('deadline passed');
      expect(abortedAt).toBeGreaterThanOrEqual(deadline.getTime() - 10);
      expect(callsOf(key)).toHaveLength(1);
    });

    it('takes no task whose deadline comes before its first attempt', async () => {
      const app = await engine.distributor();
      const refused = async (options: DistributeOptions) =>
        expect(tasksOf(app).distribute(Ordinary, { key: 'late' }, options)).rejects.toThrow(/^test\.ordinary: deadline is not after/);
      const soon = new Date(Date.now() + 60_000);
      await refused({ deadline: new Date(Date.now() - 1) });
      await refused({ deadline: soon, processAt: soon });
      await refused({ deadline: soon, processIn: '2m' });
      expect(await all()).toEqual([]);
    });

    it('buries what is found after its deadline, or is put off until then, and counts no failure for it', async () => {
      const key = randomUUID();
      const api = await engine.distributor();
      const late = await tasksOf(api).distribute(Ordinary, { key }, { deadline: new Date(Date.now() + 300) });
      await eventually(async () => {
        const [found] = await engine.database.query<{ isLate: boolean }>(
          `SELECT now() >= (options->>'deadline')::timestamptz AS "isLate" FROM task`,
        );
        return found?.isLate;
      });
      const app = await engine.worker([Ordinary]);
      await eventually(async () => (await row(late.id))?.state === 'dead');
      expect(await row(late.id)).toMatchObject({ reason: 'deadline passed', failures: 0 });
      expect(callsOf(key)).toHaveLength(0);

      scripts.set(key, () => {
        throw new RetryIn('1h', 'not ready');
      });
      const putOff = await tasksOf(app).distribute(Ordinary, { key }, { deadline: new Date(Date.now() + 60_000) });
      await eventually(async () => (await row(putOff.id))?.state === 'dead');
      expect(await row(putOff.id)).toMatchObject({ reason: 'deadline passed', failures: 0 });
      expect(callsOf(key)).toHaveLength(1);
    });

    it('starves no queue while the backlog of another one never lets a slot go', async () => {
      const app = await engine.worker([Ordinary, Urgent], { WORKER_CONCURRENCY: '2' });
      const key = randomUUID();
      scripts.set(key, () => wait(20));
      for (let batch = 0; batch < 8; batch++) {
        await Promise.all(Array.from({ length: 100 }, () => tasksOf(app).distribute(Ordinary, { key })));
      }
      // 6 s at least, and so longer than the blocking read that waited for the other queue when the slots were still free.
      await eventually(() => callsOf(key).length > 600);
      const urgent = randomUUID();
      await tasksOf(app).distribute(Urgent, { key: urgent });
      await eventually(() => callsOf(urgent).length === 1);
      expect(callsOf(key).length).toBeLessThan(770);
      await empty();
    });

    it('gives a running task back at a shutdown, free of charge, and another worker runs it at once', async () => {
      const first = await engine.worker([Ordinary], { WORKER_SHUTDOWN_TIMEOUT: '200ms' });
      const key = randomUUID();
      scripts.set(key, () => (callsOf(key).length === 1 ? new Promise(() => undefined) : undefined));
      const { id } = await tasksOf(first).distribute(Ordinary, { key });
      await eventually(() => callsOf(key).length === 1);
      await first.close();
      expect(callsOf(key)[0]?.task.signal.aborted).toBe(true);
      expect((await row(id))?.state).toBe(handedOut);
      await engine.worker([Ordinary]);
      await gone(id);
      expect(callsOf(key).map(({ task }) => task.attempt)).toEqual([1, 1]);
    });

    it('lets a running task finish at a shutdown that leaves it the time', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      scripts.set(key, () => wait(300));
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(() => callsOf(key).length === 1);
      await app.close();
      expect(await row(id)).toBeUndefined();
      expect(callsOf(key)).toHaveLength(1);
    });

    it('has told the ledger of all that is done when it has ended', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      const keys = Array.from({ length: 3_000 }, (_, index) => `${key}.${index}`);
      await tasksOf(app).distributeMany(
        Ordinary,
        keys.map((each) => ({ key: each })),
      );
      const done = () => calls.filter((call) => call.key.startsWith(key)).map((call) => call.key);
      await eventually(() => done().length > 100);
      await app.close();
      const left = await engine.database.query<{ key: string }>(`SELECT payload->>'key' AS key FROM task`);
      expect([...done(), ...left.map((each) => each.key)].toSorted()).toEqual(keys.toSorted());
    });

    it('says so when it ends before the ledger could be told of what is done', async () => {
      const app = await engine.worker([Ordinary], { WORKER_SHUTDOWN_TIMEOUT: '200ms' });
      const key = randomUUID();
      const running = Promise.withResolvers<void>();
      scripts.set(key, () => running.promise);
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(() => callsOf(key).length === 1);
      const client = new pg.Client({ connectionString: engine.database.url });
      await client.connect();
      try {
        await client.query('BEGIN');
        await client.query('SELECT FROM task WHERE id = $1 FOR UPDATE', [id]);
        running.resolve();
        await eventually(
          async () =>
            (
              await engine.database.query(
                `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM task %'`,
              )
            ).length > 0,
        );
        const said = vi.spyOn(Logger.prototype, 'error');
        onTestFinished(() => said.mockRestore());
        await app.close();
        expect(said).toHaveBeenCalledWith({ left: 1 }, 'task processor stopped, and left running tasks behind');
      } finally {
        await client.end();
      }
    });

    it('keeps a task that runs for longer than its lock', async () => {
      // Two workers: the other one looks for stalled jobs too, and must find none.
      const app = await engine.worker([Ordinary], { WORKER_CONCURRENCY: '1' });
      await engine.worker([Ordinary], { WORKER_CONCURRENCY: '1' });
      const key = randomUUID();
      scripts.set(key, () => wait(24_000));
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await gone(id);
      expect(callsOf(key)).toHaveLength(1);
    });

    it.runIf(dispatcher === 'redis')('runs one task at a time that has lost a worker, and buries what has taken five', async () => {
      const app = await engine.worker([Ordinary, Urgent]);
      const [innocent, poison, healthy] = [randomUUID(), randomUUID(), randomUUID()];
      await adminOf(app).pause('default');
      const distribute = (key: string) => tasksOf(app).distribute(Ordinary, { key });
      const many = await Promise.all([1, 2, 3, 4].map(() => distribute(innocent)));
      const { id } = await distribute(poison);
      await allHandedOut();
      // As BullMQ counts it when it finds a job whose worker is gone.
      const redis = new Redis(`redis://${engine.environment['REDIS_ADDRESS']}`);
      const job = (task: string) => `{${engine.environment['REDIS_PREFIX']}-default}:default:${task}`;
      await Promise.all([...many.map((task) => redis.hset(job(task.id), 'stc', 1)), redis.hset(job(id), 'stc', 5)]);
      redis.disconnect();
      let [running, most] = [0, 0];
      scripts.set(innocent, async () => {
        running += 1;
        most = Math.max(most, running);
        await wait(100);
        running -= 1;
      });
      await adminOf(app).resume('default');
      await Promise.all(Array.from({ length: 10 }, () => distribute(healthy)));
      await eventually(() => callsOf(healthy).length === 10 && callsOf(innocent).length === 4);
      await Promise.all(many.map((task) => gone(task.id)));
      expect(most).toBe(1);
      expect(callsOf(innocent)).toHaveLength(4);
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(await row(id)).toMatchObject({ reason: 'crashed its worker', crashes: 4, failures: 0 });
      expect(callsOf(poison)).toHaveLength(0);
    });

    it.runIf(dispatcher === 'redis')(
      'dispatches anew what the dispatcher has lost, in whole or in part, delayed tasks at their time',
      async () => {
        const app = await engine.worker([Ordinary, Urgent]);
        const [key, partial] = [randomUUID(), randomUUID()];
        const admin = app.get(TaskAdmin, { strict: false });
        await admin.pause('critical');
        await Promise.all(Array.from({ length: 30 }, () => tasksOf(app).distribute(Urgent, { key: partial })));
        await eventually(async () => (await engine.database.query(`SELECT FROM task WHERE state = 'dispatched'`)).length === 30);
        const queues = app.get(TaskQueues, { strict: false });
        const due = Date.now() + 12_000;
        const { id } = await tasksOf(app).distribute(Ordinary, { key }, { processAt: new Date(due) });
        await eventually(async () => (await row(id))?.state === 'dispatched');
        await queues.of('default').obliterate({ force: true });
        // The list goes, and the jobs in it stay.
        const redis = new Redis(`redis://${engine.environment['REDIS_ADDRESS']}`);
        const prefix = `{${engine.environment['REDIS_PREFIX']}-critical}:critical`;
        expect(await redis.del(`${prefix}:wait`, `${prefix}:paused`)).toBe(1);
        await admin.resume('critical');
        await eventually(async () => ((await row(id))?.generation ?? 0) > 0, 30_000);
        await gone(id);
        expect(callsOf(key)).toHaveLength(1);
        expect(callsOf(key)[0]!.at).toBeGreaterThanOrEqual(due - 50);
        await eventually(async () => (await engine.database.query('SELECT FROM task')).length === 0, 60_000);
        expect(callsOf(partial)).toHaveLength(30);
        // Nothing of those that were lost is left in Redis: BullMQ knows each of the others under the number of its second dispatch.
        const left = await Promise.all(
          (await redis.keys(`${prefix}:*-*`)).map((name) => redis.hget(name, 'finishedOn').catch(() => 'none')),
        );
        expect(left.filter((finishedOn) => finishedOn === null)).toEqual([]);
        redis.disconnect();
      },
    );

    it('begins no task once it is told to end, also while its loops wait for the database', async () => {
      const client = new pg.Client({ connectionString: engine.database.url });
      client.on('error', () => undefined);
      await client.connect();
      try {
        await client.query('BEGIN');
        // The reconciler, or on the ledger the scheduler, waits for as long as a statement may take.
        const table = dispatcher === 'redis' ? 'task_queue_pause' : 'task_schedule';
        await client.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
        const app = await engine.worker([Ordinary, Ticking], { WORKER_CONCURRENCY: '1' });
        await eventually(async () => {
          const { rowCount } = await client.query(
            `SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
             WHERE datname = current_database() AND relation = $1::regclass AND NOT granted`,
            [table],
          );
          return rowCount;
        });
        const key = randomUUID();
        const running = Promise.withResolvers<void>();
        scripts.set(key, () => running.promise);
        await Promise.all([1, 2, 3].map(() => tasksOf(app).distribute(Ordinary, { key })));
        await eventually(() => callsOf(key).length === 1);
        const said = vi.spyOn(Logger.prototype, 'log');
        const warned = vi.spyOn(Logger.prototype, 'warn');
        onTestFinished(() => [said, warned].forEach((spy) => spy.mockRestore()));
        const closed = app.close();
        await eventually(() => said.mock.calls.some((call) => call[1] === 'task processor is stopping'));
        running.resolve();
        const begin = performance.now();
        await closed;
        expect(callsOf(key)).toHaveLength(1);
        // First it has stopped beginning tasks, and then waited for its loops, of which one was given up.
        const place = ({ mock }: typeof said, text: string) => mock.invocationCallOrder[mock.calls.findIndex((call) => call[1] === text)]!;
        expect(place(said, 'task processor is stopping')).toBeLessThan(place(warned, 'did not end in time, and is left behind'));
        expect(performance.now() - begin).toBeLessThan(8_000);
        // Not the ticks: on Redis their schedule is not locked.
        expect(await engine.database.query(`SELECT FROM task WHERE payload->>'key' = $1`, [key])).toHaveLength(2);
      } finally {
        await client.end();
      }
    });

    it('shuts a stale attempt out once a newer one has begun', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      let stale: unknown;
      scripts.set(key, async (task) => {
        // What the ledger sees when another worker has taken the task over.
        const lost = dispatcher === 'redis' ? 'delivery = 2' : 'delivery = 2000000, claimed_by = -1';
        await engine.database.query(
          `INSERT INTO task_worker (id, host, pid, lease_until) OVERRIDING SYSTEM VALUE VALUES (-1, 'elsewhere', 1, now() + interval '1 day') ON CONFLICT DO NOTHING`,
        );
        if (callsOf(key).length === 1) await engine.database.query(`UPDATE task SET ${lost} WHERE id = $1`, [task.id]);
        await task
          .transaction((manager) => manager.query('INSERT INTO death VALUES ($1)', [task.id]))
          .catch((error: unknown) => {
            stale = error;
            throw error;
          });
      });
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(() => stale);
      expect(stale).toBeInstanceOf(StaleAttempt);
      expect(await engine.database.query('SELECT * FROM death')).toHaveLength(0);
      // Nobody runs it any more: that is found, and the task is done in the end.
      await engine.database.query('DELETE FROM task_worker WHERE id = -1');
      await gone(id);
      expect(await engine.database.query('SELECT * FROM death')).toHaveLength(1);
    });

    it('calls onDead once, in the transaction that buries, and redrives with all retries', async () => {
      const app = await engine.worker([Ordinary]);
      const admin = adminOf(app);
      const key = randomUUID();
      scripts.set(key, () => {
        throw new SkipRetry('not today');
      });
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(deaths.filter((death) => death.task.id === id)).toHaveLength(1);
      expect(await engine.database.query('SELECT * FROM death WHERE task = $1', [id])).toHaveLength(1);
      expect(await admin.list({ state: 'dead', error: 'NOT TODAY' }, 10)).toMatchObject([{ id, reason: 'retry skipped' }]);
      expect(await admin.redrive({ type: 'test.ordinary' }, { dryRun: true })).toEqual({ redriven: 1, skipped: 0 });
      await expect(admin.redriveOne(id, { key: 7 })).rejects.toThrow(/does not fit/);
      const other = randomUUID();
      await admin.redriveOne(id, { key: other });
      await gone(id);
      expect(callsOf(other).map(({ task }) => task.attempt)).toEqual([1]);
      await expect(admin.redriveOne(id)).rejects.toThrow(/it is not in the ledger/);
    });

    it('redrives and deletes by filter', async () => {
      const app = await engine.worker([Ordinary]);
      const admin = adminOf(app);
      const key = randomUUID();
      scripts.set(key, () => {
        throw new SkipRetry('first');
      });
      for (let count = 0; count < 25; count++) await tasksOf(app).distribute(Ordinary, { key });
      await eventually(async () => (await admin.count({ state: 'dead' })) === 25);
      scripts.delete(key);
      expect(await admin.redrive({ error: 'second' })).toEqual({ redriven: 0, skipped: 0 });
      const seen: number[] = [];
      expect(await admin.redrive({ error: 'first' }, { rate: 100, onProgress: (done) => seen.push(done) })).toEqual({
        redriven: 25,
        skipped: 0,
      });
      expect(seen.at(-1)).toBe(25);
      await empty();
      scripts.set(key, () => {
        throw new SkipRetry('third');
      });
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(await admin.delete({ state: 'dead', olderThan: 3_600_000 })).toBe(0);
      expect(await admin.delete({ state: 'dead' })).toBe(1);
    });

    it('cancels what is delayed, and what runs in another process', async () => {
      const app = await engine.worker([Ordinary]);
      const admin = adminOf(await engine.worker([Ordinary], { WORKER_CONCURRENCY: '1' }));
      const delayed = await tasksOf(app).distribute(Ordinary, { key: 'never' }, { processIn: '1h' });
      await eventually(async () => (await row(delayed.id))?.state === handedOut);
      expect(await admin.cancel(delayed.id, { dryRun: true })).toBe('cancelled');
      expect(await row(delayed.id)).toMatchObject({ state: handedOut });
      expect((await admin.show(delayed.id))?.job).toBe('delayed');
      expect(await admin.cancel(delayed.id)).toBe('cancelled');
      const key = randomUUID();
      scripts.set(key, (task) => new Promise((_, reject) => task.signal.addEventListener('abort', () => reject(task.signal.reason))));
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      await eventually(() => callsOf(key).length === 1);
      expect(await admin.cancel(id, { dryRun: true })).toBe('cancelled while running');
      expect([(await admin.show(id))?.job, callsOf(key)[0]!.task.signal.aborted]).toEqual(['active', false]);
      expect(await admin.cancel(id)).toBe('cancelled while running');
      await eventually(() => callsOf(key)[0]!.task.signal.aborted);
      expect(await admin.cancel(id)).toBe('unknown');
      expect(await all()).toEqual([]);
      expect(callsOf('never')).toHaveLength(0);
    });

    it('pauses a queue and resumes it, and tells the story of a task', async () => {
      const app = await engine.worker([Ordinary, Urgent]);
      const admin = adminOf(app);
      await admin.pause('default');
      const key = randomUUID();
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      const urgent = await tasksOf(app).distribute(Urgent, { key: randomUUID() });
      await gone(urgent.id);
      await eventually(async () => (await row(id))?.state === handedOut);
      expect(callsOf(key)).toHaveLength(0);
      expect((await admin.show(id))?.explanation).toBe('its queue is paused');
      const [, summary] = await admin.summarize(new Map([['default', 5]]));
      expect(summary).toMatchObject({ queue: 'default', paused: true, weight: 5 });
      await admin.resume('default');
      await gone(id);
      expect(await admin.show(id)).toBeUndefined();
      await expect(admin.pause('nobody')).rejects.toThrow(/not one of this app's/);
    });

    it('begins the next attempt in time, also when its queue was found empty meanwhile', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      const ends: number[] = [];
      const waits: number[] = [];
      scripts.set(key, async () => {
        if (ends.length > 0) waits.push(performance.now() - ends.at(-1)!);
        // Long enough for the other slots to learn that there is nothing for them.
        await wait(300);
        ends.push(performance.now());
        if (ends.length < 4) throw new RetryIn(50);
        if (ends.length < 6) throw new Error('not yet');
      });
      await gone((await tasksOf(app).distribute(Ordinary, { key })).id);
      expect(waits).toHaveLength(5);
      expect(Math.max(...waits)).toBeLessThan(1_000);
    });

    it('records progress, and waits as asked', async () => {
      const app = await engine.worker([Ordinary]);
      const key = randomUUID();
      scripts.set(key, async (task) => {
        await task.progress({ percent: 40 });
        throw new RetryIn('1h', 'the other side is not ready');
      });
      const { id } = await tasksOf(app).distribute(Ordinary, { key });
      const story = await eventually(async () => {
        const found = await adminOf(app).show(id);
        return found?.history.length === 1 ? found : undefined;
      });
      expect(story.progress).toEqual({ percent: 40 });
      expect(story.history.map((entry) => entry.what)).toEqual(['put off: the other side is not ready']);
      expect(story.failures).toBe(0);
    });

    it.runIf(dispatcher === 'redis')('pauses no queue that is resumed at the same moment', async () => {
      const app = await engine.worker([]);
      const admin = adminOf(app);
      const queues = app.get(TaskQueues, { strict: false });
      for (let round = 0; round < 20; round++) {
        await admin.pause('default');
        // To pause one queue looks after all that are to be paused, as the reconciler does.
        await Promise.all([admin.resume('default'), admin.pause('critical')]);
        expect(await queues.of('default').isPaused()).toBe(false);
        await admin.resume('critical');
      }
    });

    it('does no work twice for a result or a progress that cannot be kept', async () => {
      const app = await engine.worker([Ordinary]);
      const cycle: Record<string, unknown> = {};
      cycle['self'] = cycle;
      const throwing = {
        toJSON: () => {
          throw undefined;
        },
      };
      const results = [1n, { at: () => 0 }, 'x'.repeat(100_000), 'a\u0000b', { '\uD83D': 1 }, cycle, throwing];
      for (const result of results) {
        const key = randomUUID();
        scripts.set(key, async (task) => {
          await expect(task.progress(result)).rejects.toThrow(RangeError);
          return result;
        });
        const { id } = await tasksOf(app).distribute(Ordinary, { key }, { retention: '1h' });
        const story = await eventually(async () => {
          const found = await adminOf(app).show(id);
          return found?.state === 'completed' ? found : undefined;
        });
        expect(story.result).toEqual({ notKept: expect.stringMatching(/^the result/) });
        expect(callsOf(key)).toHaveLength(1);
      }
    });

    it('distributes a periodic task once a tick, whatever the number of workers', async () => {
      const from = Date.now();
      for (let count = 0; count < 3; count++) await engine.worker([Ticking]);
      calls.length = 0;
      await eventually(() => callsOf('tick').length >= 4);
      const created = callsOf('tick').map(({ task }) => Math.floor(task.createdAt.getTime() / 1_000));
      expect(new Set(created).size).toBe(created.length);
      expect(created.length).toBeLessThanOrEqual((Date.now() - from) / 1_000 + 1);
    });

    it('deletes what was kept and has had its time, however much it is', async () => {
      await engine.database.query(
        `INSERT INTO task (id, type, queue, payload, options, state, keep_until)
         SELECT gen_random_uuid(), 'test.ordinary', 'default', '{}', '{}', 'completed', now() - random() * interval '1 day'
         FROM generate_series(1, 12500)`,
      );
      for (let count = 0; count < 2; count++) await engine.worker([]);
      // In fewer turns than there are batches.
      await eventually(async () => (await all()).length === 0, 15_000);
    });

    it('runs each periodic task by itself, and leaves alone what nobody here declares', async () => {
      await engine.database.query(`INSERT INTO task_schedule VALUES ('test.gone', '* * * * * *', 'UTC', now() - interval '1 day')`);
      healthy = true;
      await engine.worker([Ticking, Ailing]);
      healthy = false;
      calls.length = 0;
      await eventually(() => callsOf('tick').length >= 2);
      const before = callsOf('ailing').length;
      await eventually(() => callsOf('tick').length >= 4);
      expect(callsOf('ailing')).toHaveLength(before);
      healthy = true;
      await eventually(() => callsOf('ailing').length > before);
      const [gone] = await engine.database.query<{ lock: string }>(`SELECT xmax::text AS lock FROM task_schedule WHERE type = 'test.gone'`);
      expect(gone?.lock).toBe('0');
    });

    it('leaves a schedule that a newer release has changed to those that declare it, and takes it over when nobody runs it', async () => {
      const schedule = async () =>
        (
          await engine.database.query<{ cron: string; late: boolean }>(
            `SELECT cron, next_at < now() AS late FROM task_schedule WHERE type = 'test.ticking'`,
          )
        )[0];
      await engine.worker([Ticking]);
      await eventually(async () => (await schedule())?.cron === '* * * * * *');
      await engine.database.query(`UPDATE task_schedule SET cron = '0 * * * * *', next_at = now() WHERE type = 'test.ticking'`);
      await empty();
      calls.length = 0;
      // Two turns of the scheduler, which would have run it.
      await eventually(
        async () => (await engine.database.query(`SELECT 1 FROM task_schedule WHERE next_at < now() - interval '2.2 s'`))[0],
      );
      expect(callsOf('tick')).toHaveLength(0);
      expect(await schedule()).toEqual({ cron: '0 * * * * *', late: true });
      await engine.database.query(`UPDATE task_schedule SET next_at = now() - interval '61 s' WHERE type = 'test.ticking'`);
      await eventually(async () => (await schedule())?.cron === '* * * * * *' && callsOf('tick').length > 0);
    });

    it('brings old payloads up, parks newer ones, and buries unreadable ones', async () => {
      const app = await engine.worker([Versioned]);
      const { id: old } = await tasksOf(app).distribute(Versioned, { name: 'x' }, { processIn: '1h' });
      const change = (id: string, sql: string) =>
        engine.database.query(`UPDATE task SET ${sql}, state = 'pending', run_at = now(), generation = generation + 1 WHERE id = $1`, [id]);
      const key = randomUUID();
      await change(old, `version = 1, payload = '{"title":"${key}"}'`);
      await gone(old);
      expect(callsOf(key)).toHaveLength(1);
      const { id: newer } = await tasksOf(app).distribute(Versioned, { name: 'x' }, { processIn: '1h' });
      await change(newer, 'version = 3');
      await eventually(async () => (await adminOf(app).show(newer))?.history.some((entry) => entry.what.includes('version 3')));
      expect((await row(newer))?.state).toBe(handedOut);
      const { id: broken } = await tasksOf(app).distribute(Versioned, { name: 'x' }, { processIn: '1h' });
      await change(broken, `payload = '{"name":7}'`);
      await eventually(async () => (await row(broken))?.state === 'dead');
      expect((await row(broken))?.reason).toBe('unreadable payload');
    });

    it('puts a task of an unknown type off, free: a newer api may be ahead of this worker', async () => {
      const app = await engine.worker([]);
      const { id } = await tasksOf(app).distribute(Ordinary, { key: 'early' }, { maxRetry: 0 });
      const putOff = 'put off: no handler for the task type "test.ordinary" in this worker';
      const story = await eventually(async () => {
        const found = await adminOf(app).show(id);
        return found?.history.length === 1 && found.job === 'delayed' ? found : undefined;
      });
      expect(story).toMatchObject({ state: handedOut, failures: 0, history: [{ what: putOff }] });
      expect(story.runAt.getTime() - Date.now()).toBeGreaterThan(40_000);
      await app.close();
      const newer = await engine.worker([Ordinary]);
      await makeDue(newer, id);
      await gone(id);
      expect(callsOf('early')).toHaveLength(1);
    });

    it('runs middleware around every handler, in the order given', async () => {
      const order: string[] = [];
      const layer = (name: string) => async (_: TaskContext, next: () => Promise<unknown>) => {
        order.push(`${name} in`);
        const result = await next();
        order.push(`${name} out`);
        return result;
      };
      const app = await engine.worker([Ordinary], {}, [layer('outer'), layer('inner')]);
      const { id } = await tasksOf(app).distribute(Ordinary, { key: randomUUID() });
      await gone(id);
      expect(order).toEqual(['outer in', 'inner in', 'inner out', 'outer out']);
    });

    it('refuses to start with a task whose queue nobody weights, two handlers for one type, or an invalid schedule', async () => {
      await expect(engine.worker([Urgent], { QUEUE_WEIGHTS: 'default=1' })).rejects.toThrow(/no weight/);
      @Injectable()
      @Task({ type: 'test.ordinary', payload })
      class Other extends Scripted {}
      await expect(engine.worker([Ordinary, Other])).rejects.toThrow(/two handlers/);
      @Injectable()
      @Task({ type: 'test.never', payload: z.object({}), schedule: { cron: 'every full moon' } })
      class Never extends Ticking {}
      await expect(engine.worker([Never])).rejects.toThrow(/schedule/);
      @Injectable()
      @Task({ type: 'test.picky', payload, schedule: { cron: '@daily' } })
      class Picky extends Scripted {}
      await expect(engine.worker([Picky])).rejects.toThrow(
        /^"test.picky" has a schedule, .* the payload does not fit "test.picky": .*key/s,
      );
      @Injectable({ scope: Scope.REQUEST })
      @Task({ type: 'test.scoped', payload })
      class Scoped extends Scripted {}
      await expect(engine.worker([Scoped])).rejects.toThrow(/the handler Scoped of "test.scoped" is request-scoped/);
    });
  });
}
