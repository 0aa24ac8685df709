import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Refused, SkipRetry, Task, TaskAdmin, type TaskSearch, type TaskContext, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createEngine, type Dispatcher, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string(), note: z.string().optional() });
type Payload = z.output<typeof payload>;

/** What the handler below does for a key. */
const scripts = new Map<string, (task: TaskContext) => unknown>();

@Injectable()
@Task({ type: 'console.scripted', payload, maxRetry: 1, backoff: { type: 'fixed', delay: 20 } })
class Scripted implements TaskHandler<Payload> {
  async handle({ key }: Payload, task: TaskContext): Promise<unknown> {
    return scripts.get(key)?.(task);
  }
}

/** What the operator's console asks of the engine and tells it: one suite for every dispatcher. */
export function describeConsole(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`the console's engine on ${dispatcher}`, { timeout: 60_000 }, () => {
    let engine: TestEngine;
    let tasks: TaskDistributor;
    let admin: TaskAdmin;
    beforeAll(async () => {
      // The other dispatcher's run of this suite may have left something.
      scripts.clear();
      engine = await createEngine(dispatcher);
      const worker = await engine.worker([Scripted], { QUEUE_WEIGHTS: 'critical=10,default=5', WORKER_CONCURRENCY: '7' });
      tasks = worker.get(TaskDistributor, { strict: false });
      // As an operator's tool: it sees what the ledger says, and nothing of the worker's memory.
      const tool = await engine.admin([Scripted]);
      admin = tool.get(TaskAdmin, { strict: false });
    });
    afterAll(() => engine?.close());

    /** Distributes a task that runs until it is let go. */
    const held = async () => {
      const key = randomUUID();
      const { promise, resolve: letGo } = Promise.withResolvers<void>();
      scripts.set(key, () => promise);
      const { id } = await tasks.distribute(Scripted, { key });
      return { id, letGo };
    };

    /** Distributes a task that is buried. */
    const buried = async (error: string, queue: 'critical' | 'default' = 'default') => {
      const key = randomUUID();
      scripts.set(key, () => {
        throw new SkipRetry(error);
      });
      const { id } = await tasks.distribute(Scripted, { key }, { queue });
      await eventually(async () => (await engine.database.query(`SELECT FROM task WHERE id = $1 AND state = 'dead'`, [id])).length === 1);
      return id;
    };
    /** An operator's tool that has seen nothing yet. */
    const fresh = async () => (await engine.admin([Scripted])).get(TaskAdmin, { strict: false });

    describe('workers', () => {
      it('show where they run, what they serve, and what they run now and since when', async () => {
        const task = await held();
        try {
          const worker = await eventually(async () =>
            (await admin.workers()).find(({ running }) => running.some(({ id }) => id === task.id)),
          );
          expect(worker).toMatchObject({ host: hostname(), pid: process.pid, alive: true, slots: 7, queues: { critical: 10, default: 5 } });
          expect(worker.inUse).toBe(worker.running.length);
          const [running] = worker.running.filter(({ id }) => id === task.id);
          expect(running).toMatchObject({ type: 'console.scripted', queue: 'default' });
          expect(Math.abs(Date.now() - running!.since.getTime())).toBeLessThan(15_000);
          expect(worker.heardAt.getTime()).toBeGreaterThanOrEqual(worker.startedAt.getTime() - 1);
        } finally {
          task.letGo();
        }
        await eventually(async () => (await admin.workers())[0]?.inUse === 0);
      });

      it('of the release before, which says nothing of itself, are shown all the same', async () => {
        await engine.database.query(
          `INSERT INTO task_worker (host, pid, lease_until) VALUES ('elsewhere', 7, now() + interval '1 minute')`,
        );
        const old = (await admin.workers()).find(({ host }) => host === 'elsewhere');
        expect(old).toMatchObject({ alive: true, version: null, queues: null, slots: null, inUse: null, running: [] });
        await engine.database.query(`DELETE FROM task_worker WHERE host = 'elsewhere'`);
      });
    });

    describe('the overview', () => {
      it('counts what is ready, runs, is delayed and dead, and says how long the oldest ready one waits', async () => {
        const running = await held();
        await buried('counted');
        await admin.pause('critical');
        const ready = await tasks.distribute(Scripted, { key: 'ready' }, { queue: 'critical' });
        const delayed = await tasks.distribute(Scripted, { key: 'delayed' }, { queue: 'critical', processIn: '1h' });
        try {
          const seen = await eventually(async () => {
            const { queues, dispatcher } = await admin.overview();
            const [critical, normal] = queues;
            return dispatcher === (engine.environment['REDIS_ADDRESS'] ? 'redis' : 'ledger') &&
              critical?.ready.count === 1 &&
              normal?.running.count === 1
              ? { critical, normal }
              : undefined;
          });
          expect(seen.critical).toMatchObject({ queue: 'critical', weight: 10, paused: true, pausedAt: expect.any(Date), workers: 1 });
          expect(seen.critical).toMatchObject({
            running: { count: 0, exact: true },
            delayed: { count: 1, exact: true },
            dead: { count: 0 },
          });
          expect(seen.critical.latency).toBeGreaterThan(0);
          expect(seen.normal).toMatchObject({ queue: 'default', weight: 5, paused: false, pausedAt: null, workers: 1, latency: 0 });
          expect(seen.normal).toMatchObject({ ready: { count: 0, exact: true }, delayed: { count: 0 }, dead: { count: 1, exact: true } });
          expect((await admin.overview()).problems).toEqual([
            { kind: 'paused queue with a backlog', queue: 'critical', text: 'The queue "critical" is paused, and 1 task is due in it.' },
          ]);
        } finally {
          running.letGo();
          await admin.cancel(ready.id);
          await admin.cancel(delayed.id);
          await admin.resume('critical');
        }
        await eventually(async () => {
          const { queues, problems } = await admin.overview();
          return problems.length === 0 && queues.every(({ ready, running, delayed }) => ready.count + running.count + delayed.count === 0);
        });
      });

      it('says which queue no worker serves, which schedule nobody runs, and that no worker is alive', async () => {
        const id = randomUUID();
        await engine.database.query(
          `INSERT INTO task (id, type, queue, payload, options) VALUES ($1, 'console.scripted', 'strange "one"', '{}', '{"maxRetry":0}')`,
          [id],
        );
        await engine.database.query(
          `INSERT INTO task_schedule (type, cron, timezone, next_at) VALUES ('console.late', '0 3 * * *', 'UTC', '2026-01-02 03:00Z')`,
        );
        const { queues, problems } = await (await fresh()).overview();
        expect(queues.at(-1)).toMatchObject({ queue: 'strange "one"', weight: 0, workers: 0, ready: { count: 1 } });
        expect(problems.map(({ text }) => text)).toEqual([
          'The queue "strange "one"" has 1 task, and no worker serves it.',
          'The schedule of "console.late" was due at 2026-01-02 03:00:00Z, and nobody has run it.',
        ]);
        // A worker of the release before does not say what it serves.
        await engine.database.query(
          `INSERT INTO task_worker (host, pid, lease_until) VALUES ('elsewhere', 7, now() + interval '1 minute')`,
        );
        expect((await admin.overview()).problems.map(({ kind }) => kind)).toEqual(['schedule missed']);
        await engine.database.query(`DELETE FROM task_worker WHERE host = 'elsewhere'`);
        await engine.database.query(`DELETE FROM task WHERE id = $1`, [id]);
        await engine.database.query(`DELETE FROM task_schedule WHERE type = 'console.late'`);
        await eventually(async () => {
          await engine.database.query(`UPDATE task_worker SET lease_until = now() - interval '1 second'`);
          return (await admin.overview()).problems.some(
            ({ kind, text }) => kind === 'no worker' && text === 'No worker is alive: no task runs until one is started.',
          );
        });
      });

      it.runIf(dispatcher === 'redis')('says that Redis does not answer, and shows everything all the same', async () => {
        const away = await createEngine(dispatcher, { database: engine.database });
        away.environment['REDIS_ADDRESS'] = 'redis://127.0.0.1:9';
        const tool = await away.admin([Scripted]);
        const { queues, problems } = await tool.get(TaskAdmin, { strict: false }).overview();
        expect(problems[0]).toMatchObject({ kind: 'dispatcher away', text: expect.stringMatching(/^Redis does not take tasks/) });
        expect(queues).toHaveLength(2);
        await tool.close();
      });

      it('groups the dead by what their errors have in common', async () => {
        const groups = async () => (await (await fresh()).deadGroups()).filter(({ group }) => group.startsWith('the parcel'));
        await Promise.all(
          [`the parcel ${randomUUID()} is lost`, `the parcel ${randomUUID()} is lost\nhere`, 'the parcel 7 is wet'].map((error) =>
            buried(error),
          ),
        );
        const [lost, wet] = await groups();
        expect(lost).toMatchObject({
          type: 'console.scripted',
          group: 'the parcel … is lost',
          count: { count: 2, exact: true },
          lastDay: { count: 2 },
        });
        expect(wet).toMatchObject({ group: 'the parcel … is wet', count: { count: 1 } });
        expect(lost!.firstAt <= lost!.lastAt).toBe(true);
        await engine.database.query(
          `UPDATE task SET finished_at = now() - interval '2 days', queue = 'elsewhere' WHERE id = (SELECT id FROM task WHERE error LIKE '%lost' LIMIT 1)`,
        );
        expect((await groups())[0]).toMatchObject({ count: { count: 2 }, lastDay: { count: 1 } });
        await engine.database.query(`UPDATE task SET queue = 'default'`);
        const { redriven } = await admin.redrive({ error: 'the parcel' });
        expect(redriven).toBe(3);
      });
    });

    describe('a search', () => {
      const ids = (page: { tasks: { id: string }[] }) => page.tasks.map(({ id }) => id);
      /** All pages of a search, two tasks at a time. */
      const pages = async (search: TaskSearch) => {
        const found: string[] = [];
        for (let after: string | undefined; ;) {
          const page = await admin.search(search, { limit: 2, ...(after !== undefined && { after }) });
          expect(page.tasks.length).toBeLessThanOrEqual(2);
          found.push(...ids(page));
          if (page.next === undefined) return found;
          after = page.next;
        }
      };

      it('finds tasks by what they are, in each of their states', async () => {
        const [running, dead] = [await held(), await buried(`searched "${randomUUID()}" for`)];
        await admin.pause('critical');
        const uniqueKey = randomUUID();
        const ready = await tasks.distribute(Scripted, { key: 'ready' }, { queue: 'critical', unique: { key: uniqueKey } });
        const delayed = await tasks.distribute(Scripted, { key: 'delayed' }, { processIn: '1h' });
        const kept = await tasks.distribute(Scripted, { key: 'kept' }, { retention: '1h' });
        await engine.database.query(`UPDATE task SET request_id = 'the request' WHERE id = $1`, [ready.id]);
        try {
          await eventually(async () => ids(await admin.search({ state: 'running' })).includes(running.id));
          await eventually(async () => ids(await admin.search({ state: 'completed' })).includes(kept.id));
          expect(await admin.search({ state: 'running' })).toMatchObject({
            order: 'created',
            tasks: [{ id: running.id, state: 'running', worker: expect.any(Number) }],
          });
          expect(ids(await admin.search({ state: 'ready' }))).toEqual([ready.id]);
          expect(ids(await admin.search({ state: 'delayed' }))).toEqual([delayed.id]);
          expect(ids(await admin.search({ state: 'dead', error: 'SEARCHED "' }))).toEqual([dead]);
          expect(ids(await admin.search({ state: 'dead', type: 'console.scripted', group: 'searched "…" for' }))).toEqual([dead]);
          expect(ids(await admin.search({ id: delayed.id }))).toEqual([delayed.id]);
          expect(ids(await admin.search({ id: delayed.id, state: 'dead' }))).toEqual([]);
          expect(ids(await admin.search({ uniqueKey }))).toEqual([ready.id]);
          expect(ids(await admin.search({ uniqueKey, state: 'ready' }))).toEqual([ready.id]);
          expect(ids(await admin.search({ uniqueKey, state: 'delayed' }))).toEqual([]);
          expect(ids(await admin.search({ requestId: 'the request' }))).toEqual([ready.id]);
          expect(ids(await admin.search({ queue: 'critical', state: 'ready' }))).toEqual([ready.id]);
          expect(ids(await admin.search({ queue: 'nowhere' }))).toEqual([]);
          expect(ids(await admin.search({ state: 'delayed', olderThan: 3_600_000 }))).toEqual([]);
          expect(ids(await admin.search({ state: 'delayed', youngerThan: 3_600_000 }))).toEqual([delayed.id]);
          expect(ids(await admin.search({}))).toEqual(expect.arrayContaining([running.id, dead, ready.id, delayed.id, kept.id]));
          const [row] = (await admin.search({ id: dead })).tasks;
          expect(row).toMatchObject({
            state: 'dead',
            queue: 'default',
            failures: 1,
            maxAttempts: 2,
            reason: 'retry skipped',
            error: expect.stringMatching(/^searched/),
          });
          expect(row).not.toHaveProperty('payload');
        } finally {
          running.letGo();
          await admin.cancel(ready.id);
          await admin.cancel(delayed.id);
          await admin.deleteOne(kept.id);
          await admin.resume('critical');
        }
      });

      it('goes from page to page, in each order, and misses and repeats nothing', async () => {
        const made = await tasks.distributeMany(
          Scripted,
          Array.from({ length: 7 }, (_, index) => ({ key: `page ${index}` })),
          { processIn: '1h' },
        );
        const distributed = made.map(({ id }) => id).toSorted();
        await eventually(async () => (await pages({ state: 'delayed' })).length === 7);
        expect((await pages({ state: 'delayed' })).toSorted()).toEqual(distributed);
        expect((await pages({ type: 'console.scripted' })).filter((id) => distributed.includes(id))).toEqual(distributed.toReversed());
        await engine.database.query(`UPDATE task SET state = 'dead', finished_at = now() WHERE id = ANY($1::uuid[])`, [distributed]);
        // Five of one instant, and two before them.
        await engine.database.query(`UPDATE task SET finished_at = now() - interval '1 hour' WHERE id = ANY($1::uuid[])`, [
          distributed.slice(3, 5),
        ]);
        const ended = [...distributed.slice(5), ...distributed.slice(0, 3)]
          .toSorted()
          .toReversed()
          .concat(distributed.slice(3, 5).toReversed());
        expect((await pages({ state: 'dead' })).filter((id) => distributed.includes(id))).toEqual(ended);
        expect((await pages({ state: 'dead', type: 'console.scripted', group: '' })).filter((id) => distributed.includes(id))).toEqual(
          ended,
        );
        await engine.database.query(`DELETE FROM task WHERE id = ANY($1::uuid[])`, [distributed]);
      });

      it('refuses what cannot be, in a sentence', async () => {
        const refused: [TaskSearch, { after?: string; limit?: number }, RegExp][] = [
          [{ id: 'x' }, {}, /UUID/],
          [{ error: 'x'.repeat(1_001) }, {}, /1000 characters/],
          [{ type: '\0' }, {}, /no text in the ledger/],
          [{ queue: '' }, {}, /empty/],
          [{ state: 'lost' as never }, {}, /ready, running/],
          [{ olderThan: Number.NaN }, {}, /milliseconds/],
          [{}, { limit: 201 }, /1 to 200/],
          [{}, { after: 'x' }, /cannot be read/],
          [{}, { after: Buffer.from(`["now()", "${randomUUID()}"]`).toString('base64url') }, /cannot be read/],
        ];
        for (const [search, options, message] of refused) {
          const error = await admin.search(search, options).catch((thrown: unknown) => thrown);
          expect([error instanceof Refused, (error as Error).message]).toEqual([true, expect.stringMatching(message)]);
        }
      });
    });

    describe('the page of a task', () => {
      it('tells its story with every attempt, and shows nothing of the payload but its ids', async () => {
        const key = randomUUID();
        scripts.set(key, function fails() {
          throw new Error('no <b>luck</b>\u0000 for ada@example.com');
        });
        const { id } = await tasks.distribute(Scripted, { key, note: 'for Ada alone' });
        const page = await eventually(async () => {
          const found = await admin.page(id);
          return found?.state === 'dead' ? found : undefined;
        });
        expect(page).toMatchObject({ state: 'dead', failures: 2, maxAttempts: 2, known: true, actions: ['redrive', 'delete'] });
        expect(page.explanation).toBe('buried: retries exhausted; it runs again only when it is redriven');
        expect(page.payloadShape).toEqual({ key, note: '[text of 13 characters]' });
        expect(page.concerns).toEqual({ key });
        expect(JSON.stringify(page)).not.toMatch(/for Ada alone|ada@example/);
        const kinds = page.timeline.map(({ kind }) => kind).filter((kind) => kind !== 'dispatched');
        expect(kinds).toEqual(['distributed', 'failed', 'buried']);
        const [failed, last] = page.timeline.filter(({ error }) => error !== undefined);
        expect(failed).toMatchObject({
          kind: 'failed',
          attempt: 1,
          error: expect.stringMatching(/^no <b>luck/),
          stack: expect.stringMatching(/^ *at fails /),
          next: expect.any(Date),
        });
        expect(last).toMatchObject({ kind: 'buried', what: 'buried: retries exhausted', stack: expect.stringMatching(/^ *at /) });
        expect(await admin.page(randomUUID())).toBeUndefined();
      });

      it('says what comes next, and why', async () => {
        await admin.pause('critical');
        const paused = await tasks.distribute(Scripted, { key: 'x' }, { queue: 'critical' });
        const delayed = await tasks.distribute(Scripted, { key: 'x' }, { processIn: '1h' });
        const strange = randomUUID();
        await engine.database.query(
          `INSERT INTO task (id, type, queue, payload, options) VALUES ($1, 'console.strange', 'strange', '{}', '{"maxRetry":0}')`,
          [strange],
        );
        expect(await admin.page(paused.id)).toMatchObject({ state: 'ready', explanation: 'its queue is paused', actions: ['cancel'] });
        expect(await admin.page(delayed.id)).toMatchObject({
          state: 'delayed',
          explanation: expect.stringMatching(/^its first attempt is at .* \(in 1h\)$/),
          actions: ['run now', 'cancel'],
        });
        expect((await admin.page(delayed.id))!.timeline.at(-1)).toMatchObject({ kind: 'next', what: 'attempt 1' });
        expect(await admin.page(strange)).toMatchObject({ state: 'ready', explanation: 'no living worker serves its queue', known: false });
        await Promise.all([admin.cancel(paused.id), admin.cancel(delayed.id)]);
        await engine.database.query('DELETE FROM task WHERE id = $1', [strange]);
        await admin.resume('critical');
      });

      it('keeps the stacks of the newest four attempts', async () => {
        const key = randomUUID();
        scripts.set(key, () => {
          throw new Error('again');
        });
        const { id } = await tasks.distribute(Scripted, { key }, { maxRetry: 6 });
        const page = await eventually(async () => {
          const found = await admin.page(id);
          return found?.state === 'dead' ? found : undefined;
        });
        expect(page.timeline.filter(({ error }) => error !== undefined).map(({ stack }) => stack !== undefined)).toEqual([
          false,
          false,
          false,
          true,
          true,
          true,
          true,
        ]);
      });

      it('names the types and queues there are to choose from', async () => {
        expect(await admin.names()).toEqual({ types: ['console.scripted'], queues: ['critical', 'default'] });
      });
    });

    describe('the charts', () => {
      it('are made of what the workers have counted, and of what one of them has measured', async () => {
        const key = randomUUID();
        let failed = false;
        scripts.set(key, () => {
          if (failed) return;
          failed = true;
          throw new Error('once');
        });
        // In a queue in which nothing else has run.
        const { id } = await tasks.distribute(Scripted, { key }, { queue: 'critical' });
        await eventually(async () => (await engine.database.query('SELECT FROM task WHERE id = $1', [id])).length === 0);
        await buried('for the charts', 'critical');
        await eventually(
          async () =>
            (
              await engine.database.query<{ died: number }>("SELECT sum(died)::int AS died FROM task_statistic WHERE queue = 'critical'")
            )[0]!.died === 1,
        );
        await engine.database.query(
          `INSERT INTO task_statistic (minute, queue, ready, dead, latency) SELECT date_trunc('minute', now()) - interval '2 hours', queue, 3, 1, 70 FROM unnest(ARRAY['critical', 'default']) AS queue`,
        );
        await engine.database.query(`UPDATE task_statistic SET minute = minute - interval '1 minute'`);
        const hour = await (await fresh()).series('hour', 'critical');
        expect([hour.span, hour.at.length, hour.started.length]).toEqual([60, 60, 60]);
        const sum = (values: (number | null)[]) => values.reduce<number>((total, value) => total + (value ?? 0), 0);
        expect([hour.started, hour.completed, hour.failed, hour.died].map(sum)).toEqual([3, 1, 2, 1]);
        expect(hour.waited.find((value) => value !== null)).toBeGreaterThanOrEqual(0);
        expect(hour.ran.find((value) => value !== null)).toBeGreaterThan(0);
        const day = await (await fresh()).series('day');
        expect([day.span, day.at.length, Math.max(...day.ready.map(Number))]).toEqual([900, 96, 6]);
        expect(Math.max(...(await (await fresh()).series('day', 'critical')).ready.map(Number))).toBe(3);
        expect((await (await fresh()).series('hour', 'nobody')).started.every((value) => value === null)).toBe(true);
      });

      it('go back no further than 25 hours', async () => {
        await engine.database.query(`INSERT INTO task_statistic (minute, queue) VALUES (now() - interval '26 hours', 'default')`);
        const another = await engine.worker([Scripted]);
        await engine.database.query(
          `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 730945301 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
        );
        await eventually(
          async () => (await engine.database.query(`SELECT FROM task_statistic WHERE minute < now() - interval '25 hours'`)).length === 0,
        );
        const [gauged] = await engine.database.query<{ dead: number }>(
          `SELECT dead FROM task_statistic WHERE queue = 'default' AND dead IS NOT NULL ORDER BY minute DESC`,
        );
        expect(gauged!.dead).toBeGreaterThan(0);
        await another.close();
      });
    });
  });
}
