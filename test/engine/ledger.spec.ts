import { randomUUID } from 'node:crypto';
import type { INestApplicationContext } from '@nestjs/common';
import { Injectable } from '@nestjs/common';
import { isTransient } from '@app/postgres';
import { InvalidTask, Refused, StaleAttempt, Task, TaskAdmin, TaskDistributor, type TaskHandler } from '@app/tasks';
import fc from 'fast-check';
import pg from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { HookFailed } from '../../libs/tasks/src/declare/errors.js';
import { CLAIM } from '../../libs/tasks/src/ledger/claims.js';
import { Ledger, PURGE } from '../../libs/tasks/src/ledger/ledger.js';
import { TasksPool } from '../../libs/tasks/src/ledger/tasks-pool.js';
import { Changes } from '../../libs/tasks/src/operate/changes.js';
import { createEngine, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string() });

@Injectable()
@Task({ type: 'test.kept', payload })
class Kept implements TaskHandler<z.output<typeof payload>> {
  async handle(): Promise<void> {}
}

let engine: TestEngine;
let app: INestApplicationContext;
let ledger: Ledger;
beforeAll(async () => {
  engine = await createEngine('postgres');
  // Without a worker nothing happens in the ledger but what these tests do.
  app = await engine.admin([Kept]);
  ledger = app.get(Ledger, { strict: false });
});
afterEach(() => engine.database.query('TRUNCATE task'));
afterAll(() => engine?.close());

interface Row {
  id: string;
  queue: string;
  generation: number;
}

/** Tasks that are in the state; `more` are further columns. */
function insert(count: number, state: string, more: Record<string, string> = {}): Promise<Row[]> {
  const columns = ['id', 'type', 'queue', 'payload', 'options', 'state', ...Object.keys(more)];
  const values = ['gen_random_uuid()', "'test.kept'", "'default'", "'{}'", "'{}'", `'${state}'`, ...Object.values(more)];
  return engine.database.query<Row>(
    `INSERT INTO task (${columns}) SELECT ${values} FROM generate_series(1, ${count}) RETURNING id, queue, generation`,
  );
}

const claimOf = (row: Pick<Row, 'id' | 'generation'>) => ({
  id: row.id,
  generation: row.generation,
  delivery: 1_000,
  claimedBy: undefined,
});

/** A random order, the same for a seed. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  return fc.sample(fc.shuffledSubarray([...items], { minLength: items.length }), { numRuns: 1, seed })[0]!;
}

it('lets what is done with many tasks at once never wait crosswise', async () => {
  const admin = app.get(TaskAdmin, { strict: false });
  const before = await deadlocks();
  for (let round = 0; round < 40; round++) {
    const rows = await insert(150, 'dispatched', { verified_at: "now() - interval '1 hour'" });
    const finished = await insert(150, 'completed', { finished_at: 'now()', keep_until: "now() - random() * interval '1 hour'" });
    const order = (number: number) => shuffled(rows, round * 10 + number);
    await Promise.all([
      ledger.recordVerified(order(1)),
      ledger.dispatchAnew(order(2)),
      ledger.dispatchAnew(order(3)),
      ledger.recordVerified(order(4)),
      ledger.deleteCompleted(order(5).map(claimOf)),
      ledger.purgeCompleted(1_000, undefined),
      admin.delete({ state: 'completed' }),
      engine.database.query('DELETE FROM task WHERE id = $1', [finished[0]!.id]),
    ]);
  }
  expect(await deadlocks()).toBe(before);
});

/** How many the server has ended; each is also an error of one of the statements. */
async function deadlocks(): Promise<number> {
  const [row] = await engine.database.query<{ deadlocks: string }>(
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  );
  return Number(row!.deadlocks);
}

it('goes on with all other tasks while one is locked', async () => {
  const rows = await insert(20, 'dispatched', { verified_at: "now() - interval '1 hour'" });
  const expired = await insert(20, 'completed', { finished_at: 'now()', keep_until: "now() - interval '1 minute'" });
  const holder = new pg.Client({ connectionString: engine.database.url });
  await holder.connect();
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM task WHERE id = ANY($1) FOR UPDATE', [[rows[3]!.id, expired[3]!.id]]);
    await ledger.recordVerified(rows);
    expect((await ledger.leastVerified(0, 100)).map(({ id }) => id)[0]).toBe(rows[3]!.id);
    expect(await ledger.dispatchAnew(rows)).toBe(19);
    expect((await ledger.purgeCompleted(1_000, undefined)).count).toBe(19);
    await holder.query('ROLLBACK');
    expect(await ledger.dispatchAnew(rows)).toBe(1);
    expect((await ledger.purgeCompleted(1_000, undefined)).count).toBe(1);
  } finally {
    await holder.end();
  }
});

it('deletes many in one statement that was planned while the ledger was empty, and does not compare each with each', async () => {
  await ledger.deleteCompleted([claimOf({ id: randomUUID(), generation: 0 })]);
  const rows = await insert(10_000, 'pending');
  const begin = performance.now();
  await ledger.deleteCompleted(rows.map(claimOf));
  // By nested loops it is fifty million comparisons.
  expect(performance.now() - begin).toBeLessThan(1_500);
  expect(await engine.database.query('SELECT FROM task WHERE id = ANY($1)', [rows.map(({ id }) => id)])).toEqual([]);
});

it('goes on claiming where it was, and reads nothing of what is done again while a snapshot keeps it', async () => {
  const pool = app.get(TasksPool, { strict: false });
  // By one statement: all are due at the same time.
  await insert(3_000, 'pending');
  const holder = new pg.Client({ connectionString: engine.database.url });
  await holder.connect();
  try {
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await holder.query('SELECT FROM task LIMIT 1');
    const claim = ['default', 1, 1, 2_900, '-infinity', '00000000-0000-0000-0000-000000000000'];
    const done = await pool.rows<{ id: string; runAt: string }>(CLAIM, claim);
    const last = done.at(-1)!;
    await pool.change('DELETE FROM task WHERE id = ANY($1)', [done.map(({ id }) => id)]);
    const next = ["'default'", '1', '2', '10', `'${last.runAt}'`, `'${last.id}'`];
    const sql = next.reduce((text, value, index) => text.replaceAll(`$${index + 1}`, value), CLAIM);
    const plan = await pool.rows<{ 'QUERY PLAN': string }>(`EXPLAIN (ANALYZE, BUFFERS) ${sql}`);
    const lines = plan.map((line) => line['QUERY PLAN']);
    const read = lines.slice(lines.findIndex((line) => line.includes('using task_ready'))).find((line) => line.includes('Buffers:'));
    // Each entry is a block at least: it is 2,900 for a claim that begins at the start.
    expect(Number(/hit=(\d+)/.exec(read!)![1])).toBeLessThan(200);
  } finally {
    await holder.end();
  }
});

it('purges what has had its time along an index, one process at a time', async () => {
  await insert(30_000, 'completed', { finished_at: 'now()', keep_until: "now() + (random() - 0.2) * interval '1 hour'" });
  await insert(30_000, 'dead', { finished_at: 'now()' });
  // As autovacuum does, which may come between the two or after them.
  await engine.database.query('ANALYZE task');
  const plan = await engine.database.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${PURGE.replace('$1', '100').replace('$2', "'-infinity'")}`);
  const text = plan.map((line) => line['QUERY PLAN']).join('\n');
  expect(text).toContain('Index Scan using task_kept');
  expect(text).not.toMatch(/Seq Scan|Sort/);

  const expired = () => engine.database.query(`SELECT 1 FROM task WHERE state = 'completed' AND keep_until < now() - interval '1 second'`);
  const other = new pg.Client({ connectionString: engine.database.url });
  await other.connect();
  try {
    await other.query('BEGIN');
    await other.query(PURGE, [10, '-infinity']);
    expect((await ledger.purgeCompleted(1_000, undefined)).count).toBe(0);
    await other.query('COMMIT');
  } finally {
    await other.end();
  }
  let batch: { count: number; last: Date | undefined } = { count: 0, last: undefined };
  do batch = await ledger.purgeCompleted(1_000, batch.last);
  while (batch.count === 1_000);
  expect(await expired()).toEqual([]);
  expect((await engine.database.query(`SELECT 1 FROM task WHERE state = 'completed'`)).length).toBeGreaterThan(20_000);
});

it('never lets two live tasks have one unique key, whatever becomes of them', async () => {
  const tasks = app.get(TaskDistributor, { strict: false });
  const admin = app.get(TaskAdmin, { strict: false });
  const key = fc.constantFrom('a', 'b');
  const step = fc.oneof(
    fc.record({
      what: fc.constantFrom('distribute' as const, 'bury' as const, 'complete' as const, 'lose' as const, 'redrive one' as const),
      key,
    }),
    fc.record({ what: fc.constant('redrive all' as const), key }),
  );
  const any = async (state: string, key: string) =>
    (
      await engine.database.query<Row>(
        `SELECT id, queue, generation FROM task WHERE state = ANY($1) AND payload->>'key' = $2 ORDER BY random() LIMIT 1`,
        [state.split(' '), key],
      )
    )[0];
  const act = async ({ what, key }: { what: string; key: string }): Promise<void> => {
    if (what === 'distribute') return void (await tasks.distribute(Kept, { key }, { unique: { key } }));
    if (what === 'redrive all') return void (await admin.redrive({}));
    const row = await any(what === 'redrive one' ? 'dead' : 'pending dispatched', key);
    if (!row) return;
    if (what === 'bury') await ledger.bury(claimOf(row), 1, 'retry skipped', { message: 'no' }, () => Promise.resolve());
    if (what === 'complete') await ledger.deleteCompleted([claimOf(row)]);
    if (what === 'lose') {
      await engine.database.query(`UPDATE task SET state = 'dispatched' WHERE id = $1 AND state = 'pending'`, [row.id]);
      await ledger.dispatchAnew([row]);
    }
    if (what === 'redrive one') {
      await admin.redriveOne(row.id).catch((error: unknown) => {
        // Another task has its key, or the other one of the two has just redriven it.
        if (!(error instanceof InvalidTask || error instanceof Refused)) throw error;
      });
    }
  };
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(step, step), { minLength: 5, maxLength: 20 }), async (steps) => {
      await engine.database.query('TRUNCATE task');
      for (const [one, other] of steps) {
        // Side by side, as two workers and an operator would.
        await Promise.all([act(one), act(other)]);
        const live = await engine.database.query(
          `SELECT payload->>'key', count(*) FROM task WHERE state IN ('pending', 'dispatched') GROUP BY 1 HAVING count(*) > 1`,
        );
        expect(live).toEqual([]);
      }
    }),
    { numRuns: 20 },
  );
});

it('redrives the oldest of the dead that had one unique key, and counts the others', async () => {
  const tasks = app.get(TaskDistributor, { strict: false });
  const admin = app.get(TaskAdmin, { strict: false });
  const key = randomUUID();
  const bury = (id: string) => ledger.bury(claimOf({ id, generation: 0 }), 1, 'retry skipped', { message: 'no' }, () => Promise.resolve());
  const ids: string[] = [];
  for (let count = 0; count < 3; count++) {
    const { id, duplicate } = await tasks.distribute(Kept, { key }, { unique: { key } });
    expect(duplicate).toBe(false);
    await bury(id);
    ids.push(id);
  }
  await insert(5, 'dead', { finished_at: 'now()' });
  expect(await admin.redrive({}, { dryRun: true })).toEqual({ redriven: 6, skipped: 2 });
  expect(await admin.redrive({})).toEqual({ redriven: 6, skipped: 2 });
  expect(await admin.list({ state: 'dead' }, 10)).toMatchObject([{ id: ids[2] }, { id: ids[1] }]);
  await expect(admin.redriveOne(ids[1]!)).rejects.toThrow(new InvalidTask(`the task ${ids[0]} has its unique key`));
  expect(await tasks.distribute(Kept, { key }, { unique: { key } })).toEqual({ id: ids[0], duplicate: true });
  await ledger.deleteCompleted([claimOf({ id: ids[0]!, generation: 1 })]);
  await admin.redriveOne(ids[1]!);
  expect(await tasks.distribute(Kept, { key }, { unique: { key } })).toEqual({ id: ids[1], duplicate: true });
});

it('redrives by the clock of the database: that of the operator’s machine may be slow', async () => {
  await insert(3, 'dead', { finished_at: 'now()' });
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 });
  try {
    expect(await app.get(TaskAdmin, { strict: false }).redrive({})).toEqual({ redriven: 3, skipped: 0 });
  } finally {
    vi.useRealTimers();
  }
});

it('leaves what another operator has redriven or deleted meanwhile', async () => {
  const admin = app.get(TaskAdmin, { strict: false });
  await insert(3, 'dead', { finished_at: 'now()', released_key: 'gen_random_uuid()::text' });
  const { one } = Changes.prototype;
  vi.spyOn(Changes.prototype, 'one').mockImplementationOnce(async function (this: Changes, kind, id, options) {
    await engine.database.query(
      `WITH one AS (DELETE FROM task WHERE id = (SELECT max(id::text)::uuid FROM task))
       UPDATE task SET state = 'pending' WHERE id = (SELECT id FROM task WHERE id <> $1 ORDER BY id LIMIT 1)`,
      [id],
    );
    return one.call(this, kind, id, options);
  });
  expect(await admin.redrive({})).toEqual({ redriven: 1, skipped: 2 });
  vi.restoreAllMocks();
});

it('leaves a key that is taken for a time with its task, dead or redriven', async () => {
  const tasks = app.get(TaskDistributor, { strict: false });
  const admin = app.get(TaskAdmin, { strict: false });
  const unique = { key: randomUUID(), for: '1h' } as const;
  const { id } = await tasks.distribute(Kept, { key: 'k' }, { unique });
  await ledger.bury(claimOf({ id, generation: 0 }), 1, 'retry skipped', { message: 'no' }, () => Promise.resolve());
  expect(await tasks.distribute(Kept, { key: 'k' }, { unique })).toEqual({ id, duplicate: true });
  await admin.redriveOne(id);
  expect(await tasks.distribute(Kept, { key: 'k' }, { unique })).toEqual({ id, duplicate: true });
  // What its time has passed over is another's, and a redrive takes nothing back.
  await ledger.bury(claimOf({ id, generation: 1 }), 1, 'retry skipped', { message: 'no' }, () => Promise.resolve());
  await engine.database.query('UPDATE task SET unique_until = now() WHERE id = $1', [id]);
  const other = await tasks.distribute(Kept, { key: 'k' }, { unique });
  expect(other.duplicate).toBe(false);
  await admin.redriveOne(id);
  expect(await tasks.distribute(Kept, { key: 'k' }, { unique })).toEqual({ id: other.id, duplicate: true });
});

it('commits the effects of one of two attempts that make them side by side', async () => {
  const [row] = await insert(1, 'dispatched');
  const attempt = (name: string) =>
    // To the ledger, two deliveries of which neither has been superseded are the same.
    ledger.completeWith(claimOf(row!), false, async (manager) => {
      await addEffect(manager, name);
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
  const before = await effects();
  const ends = await Promise.allSettled([attempt('one'), attempt('other')]);
  expect(ends.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  expect(ends.find((end) => end.status === 'rejected')!.reason).toBeInstanceOf(StaleAttempt);
  expect((await effects()).length).toBe(before.length + 1);
});

/** What tasks do to the database: they distribute others, with a key of their own. */
const addEffect = (manager: EntityManager, key: string) =>
  manager.query(`INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'test.effect', 'default', $1, '{}')`, [
    JSON.stringify({ key }),
  ]);
const effects = () => engine.database.query<{ key: string }>(`SELECT payload->>'key' AS key FROM task WHERE type = 'test.effect'`);
/** Connections that are in a transaction and do nothing: what a pool must never hold. */
const idleInTransaction = () =>
  engine.database.query(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND query NOT LIKE '%pg_advisory%'`,
  );

/** Hooks of which nothing may be kept, whenever their end comes. */
const hooks: [what: string, hook: (manager: EntityManager, limit: Promise<void>) => Promise<unknown>][] = [
  [
    'hangs within a transaction of its own',
    (manager, limit) =>
      manager.transaction(async (inner) => {
        await addEffect(inner, 'kept');
        await limit;
        await addEffect(inner, 'late');
      }),
  ],
  [
    'goes on with its statements after the limit',
    async (manager, limit) => {
      await addEffect(manager, 'kept');
      await limit;
      await addEffect(manager, 'late');
    },
  ],
  [
    'has a statement under way at the limit',
    async (manager) => {
      await addEffect(manager, 'kept');
      await manager.query('SELECT pg_sleep(0.7)');
      await addEffect(manager, 'late');
    },
  ],
  [
    'fails while another part of it goes on',
    async (manager, limit) => {
      await addEffect(manager, 'kept');
      await Promise.all([
        Promise.reject(new Error('failed')),
        manager.transaction(async (inner) => {
          await limit;
          await addEffect(inner, 'late');
        }),
      ]);
    },
  ],
  [
    'hides that a statement has failed',
    async (manager) => {
      await addEffect(manager, 'kept');
      await manager.query('SELECT 1 / 0').catch(() => undefined);
    },
  ],
];

it.each(hooks)('keeps nothing of an onDead hook that %s, nor its connection, and buries without it', async (_, hook) => {
  const [row] = await insert(1, 'dispatched');
  let end: unknown;
  const limit = Promise.withResolvers<void>();
  const onDead = async (manager: EntityManager) => {
    setTimeout(limit.resolve, 400);
    const running = hook(manager, limit.promise);
    running.then(
      () => (end = 'ended'),
      (error: unknown) => (end = error),
    );
    await running;
  };
  await expect(ledger.bury(claimOf(row!), 1, 'retry skipped', { message: 'no' }, onDead, 200)).rejects.toBeInstanceOf(HookFailed);
  // The row is free at once, or as soon as the statement under way has ended.
  expect(await ledger.bury(claimOf(row!), 1, 'retry skipped', { message: 'no' })).toBe(true);
  await limit.promise;
  await eventually(() => end !== undefined);
  // Whoever has a connection of the pool now writes what stays written.
  const dataSource = app.get(DataSource, { strict: false });
  await Promise.all(Array.from({ length: 10 }, (_, index) => addEffect(dataSource.manager, `later ${index}`)));
  expect((await effects()).map(({ key }) => key).toSorted()).toEqual(Array.from({ length: 10 }, (_, index) => `later ${index}`));
  expect(await engine.database.query('SELECT state FROM task WHERE id = $1', [row!.id])).toEqual([{ state: 'dead' }]);
  await eventually(async () => (await idleInTransaction()).length === 0);
});

it('says that the database is away, and not that the hook failed, when that has ended the transaction', async () => {
  const [row] = await insert(1, 'dispatched');
  const onDead = async (manager: EntityManager) => {
    const [{ pid }] = await manager.query<[{ pid: number }]>('SELECT pg_backend_pid() AS pid');
    await engine.database.query('SELECT pg_terminate_backend($1)', [pid]);
    await manager.query('SELECT 1');
  };
  const error = await ledger.bury(claimOf(row!), 1, 'retry skipped', { message: 'no' }, onDead).catch((thrown: unknown) => thrown);
  expect(error).not.toBeInstanceOf(HookFailed);
  expect(isTransient(error)).toBe(true);
});

it('shortens a history that is longer than its bound to the first event and the newest', async () => {
  const history = `(SELECT jsonb_agg(jsonb_build_object('what', 'event ' || n)) FROM generate_series(1, 40) AS n)`;
  const [failed, putOff, again] = await insert(3, 'dispatched', { history });
  await ledger.recordFailure(claimOf(failed!), 1, { message: 'no' }, 0);
  await ledger.recordSnooze(claimOf(putOff!), 'later', 0);
  await ledger.recordSnooze(claimOf(again!), 'later', 0);
  await ledger.recordSnooze(claimOf(again!), 'later', 0);
  const story = async (task: Row) =>
    (
      await engine.database.query<{ what: string }>(
        `SELECT event->>'what' AS what FROM task, jsonb_array_elements(history) AS event WHERE id = $1`,
        [task.id],
      )
    ).map(({ what }) => what);
  const kept = ['event 1', ...Array.from({ length: 28 }, (_, index) => `event ${index + 13}`)];
  expect(await story(failed!)).toEqual([...kept, 'attempt 1 failed']);
  expect(await story(putOff!)).toEqual([...kept, 'put off: later']);
  expect(await story(again!)).toEqual([...kept, 'put off: later']);
});
