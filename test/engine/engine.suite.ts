import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import {
  InvalidTask,
  RetryIn,
  RevokeTask,
  SkipRetry,
  StaleAttempt,
  Task,
  TaskAdmin,
  type TaskContext,
  TaskDistributor,
  type TaskHandler,
} from '@app/tasks';
import { DataSource, type EntityManager } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createEngine, type Dispatcher, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string(), what: z.string().optional() });
type Payload = z.output<typeof payload>;

/** What the handlers below were called with, and what they are to do. */
const calls: { key: string; task: TaskContext }[] = [];
const scripts = new Map<string, (task: TaskContext) => unknown>();
const callsOf = (key: string) => calls.filter((call) => call.key === key);

@Injectable()
class Scripted implements TaskHandler<Payload> {
  async handle({ key }: Payload, task: TaskContext): Promise<unknown> {
    calls.push({ key, task });
    return scripts.get(key)?.(task);
  }
}

@Task({ type: 'test.scripted', payload, maxRetry: 2, backoff: { type: 'fixed', delay: 20 } })
class ScriptedTask extends Scripted {}

/** Fails in every place at once. */
@Task({
  type: 'test.failing',
  payload: payload.refine(async ({ what }) => what !== 'refused', 'not that'),
  maxRetry: 0,
  backoff: () => {
    throw new Error('\0');
  },
})
class FailingTask extends Scripted {
  async onDead(): Promise<void> {
    throw new Error('\0');
  }
}

/** The contract of the task engine: one suite for every dispatcher. */
export function describeEngine(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`the task engine on ${dispatcher}`, () => {
    let engine: TestEngine;
    let tasks: TaskDistributor;
    let admin: TaskAdmin;
    let dataSource: DataSource;

    beforeAll(async () => {
      // The other dispatcher's run of this suite may have left something.
      calls.length = 0;
      scripts.clear();
      engine = await createEngine(dispatcher);
      const app = await engine.worker([ScriptedTask, FailingTask]);
      tasks = app.get(TaskDistributor, { strict: false });
      admin = app.get(TaskAdmin, { strict: false });
      dataSource = app.get(DataSource);
      await engine.database.query('CREATE TABLE effect (task uuid)');
    });
    afterAll(() => engine?.close());

    const row = async (id: string) =>
      (
        await engine.database.query<{
          state: string;
          reason: string;
          error: string;
          failures: number;
          result: unknown;
          history: { what: string }[];
        }>('SELECT * FROM task WHERE id = $1', [id])
      )[0];
    const gone = (id: string) => eventually(async () => (await row(id)) === undefined);

    it('runs a task once its transaction has committed, and leaves nothing behind', async () => {
      const key = randomUUID();
      const { id } = await dataSource.transaction((manager) => tasks.distribute(ScriptedTask, { key }, { manager }));
      await gone(id);
      expect(callsOf(key)).toHaveLength(1);
      expect(callsOf(key)[0]?.task).toMatchObject({ id, type: 'test.scripted', queue: 'default', attempt: 1, maxAttempts: 3 });
    });

    it('never runs a task whose transaction rolled back', async () => {
      const lost = randomUUID();
      const kept = randomUUID();
      await expect(
        dataSource.transaction(async (manager) => {
          await tasks.distribute(ScriptedTask, { key: lost }, { manager });
          throw new Error('rolled back');
        }),
      ).rejects.toThrow('rolled back');
      const { id } = await tasks.distribute(ScriptedTask, { key: kept });
      await gone(id);
      expect(callsOf(lost)).toHaveLength(0);
    });

    describe('many at once', () => {
      const many = (count: number, key = randomUUID()) => Array.from({ length: count }, (_, index) => ({ key: `${key}.${index}` }));

      it('are run once each when the caller’s transaction has committed', { timeout: 150_000 }, async () => {
        const payloads = many(10_000);
        const before = calls.length;
        const distributed = await dataSource.transaction((manager) => tasks.distributeMany(ScriptedTask, payloads, { manager }));
        expect(new Set(distributed.map(({ id }) => id)).size).toBe(10_000);
        expect(distributed.some(({ duplicate }) => duplicate)).toBe(false);
        // Asking the database for ten thousand ids again and again would hold them up.
        await eventually(() => calls.length >= before + 10_000, 110_000);
        await eventually(async () => {
          const [left] = await engine.database.query<{ count: number }>(
            'SELECT count(*)::int AS count FROM task WHERE id = ANY($1::uuid[])',
            [distributed.map(({ id }) => id)],
          );
          return left!.count === 0;
        });
        const runs = Map.groupBy(calls, ({ key }) => key);
        expect(payloads.filter(({ key }) => runs.get(key)?.length !== 1)).toEqual([]);
      });

      it('are none when it rolls back, or when one of them cannot be', async () => {
        const payloads = many(3);
        await expect(
          dataSource.transaction(async (manager) => {
            await tasks.distributeMany(ScriptedTask, payloads, { manager });
            throw new Error('rolled back');
          }),
        ).rejects.toThrow('rolled back');
        const odd = [...payloads, { key: 7 as never }];
        await expect(tasks.distributeMany(ScriptedTask, odd)).rejects.toThrow(/^of 4, number 3: .*test\.scripted.*key/s);
        await expect(tasks.distributeMany(ScriptedTask, payloads, { queue: 'nowhere' as never })).rejects.toThrow(InvalidTask);
        await expect(tasks.distributeMany(ScriptedTask, payloads, { unique: { key: () => '' } })).rejects.toThrow(/unique\.key/);
        expect(await tasks.distributeMany(ScriptedTask, [])).toEqual([]);
        const kept = await tasks.distribute(ScriptedTask, { key: randomUUID() });
        await gone(kept.id);
        for (const { key } of payloads) expect(callsOf(key)).toEqual([]);
      });

      it('have one task a unique key: those before them have it, and of equals the first', async () => {
        const key = randomUUID();
        const options = { processIn: '1h', unique: { key: ({ key }: Payload) => key } } as const;
        const holder = await tasks.distribute(ScriptedTask, { key: `${key}.1` }, { processIn: '1h', unique: { key: `${key}.1` } });
        const [first, second, third, again] = await tasks.distributeMany(ScriptedTask, [...many(3, key), { key: `${key}.2` }], options);
        expect(second).toEqual({ id: holder.id, duplicate: true });
        expect([first?.duplicate, third?.duplicate]).toEqual([false, false]);
        expect(again).toEqual({ id: third?.id, duplicate: true });
        // Two that want the same ones in opposite orders.
        const both = many(200);
        const results = await Promise.all(
          [both, both.toReversed()].map((payloads) => tasks.distributeMany(ScriptedTask, payloads, options)),
        );
        const ids = results.map((distributed) => distributed.map(({ id }) => id));
        expect(ids[0]).toEqual(ids[1]!.toReversed());
        expect(results.flat().filter(({ duplicate }) => !duplicate)).toHaveLength(200);
      });
    });

    it('waits for processIn, and for processAt', async () => {
      const key = randomUUID();
      const begin = Date.now();
      let startedAt = 0;
      scripts.set(key, () => (startedAt = Date.now()));
      await gone((await tasks.distribute(ScriptedTask, { key }, { processIn: '1s' })).id);
      expect(startedAt - begin).toBeGreaterThanOrEqual(990);
      expect(startedAt - begin).toBeLessThan(4_000);
      const at = new Date(Date.now() + 500);
      await gone((await tasks.distribute(ScriptedTask, { key }, { processAt: at })).id);
      expect(startedAt).toBeGreaterThanOrEqual(at.getTime() - 10);
    });

    it('retries what fails, with the attempt told, and buries it after the last one', async () => {
      const key = randomUUID();
      scripts.set(key, () => {
        throw new Error('nobody at someone@example.com');
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      const dead = await eventually(async () => ((await row(id))?.state === 'dead' ? await row(id) : undefined));
      expect(callsOf(key).map(({ task }) => task.attempt)).toEqual([1, 2, 3]);
      expect(dead).toMatchObject({ reason: 'retries exhausted', failures: 3, error: 'nobody at [address]' });
      expect(dead.history.map((entry) => entry.what)).toEqual(['attempt 1 failed', 'attempt 2 failed', 'buried: retries exhausted']);
    });

    it.each([
      ['a string', () => Promise.reject('text')],
      ['undefined', () => Promise.reject(undefined)],
      [
        'a synchronous error',
        () => {
          throw new TypeError('sync');
        },
      ],
    ])('treats %s that is thrown as a failure', async (_, script) => {
      const key = randomUUID();
      scripts.set(key, script);
      const { id } = await tasks.distribute(ScriptedTask, { key }, { maxRetry: 0 });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(callsOf(key)).toHaveLength(1);
    });

    it('buries at once what asks to skip its retries', async () => {
      const key = randomUUID();
      scripts.set(key, () => {
        throw new SkipRetry('no use');
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(await row(id)).toMatchObject({ reason: 'retry skipped', error: 'no use' });
      expect(callsOf(key)).toHaveLength(1);
    });

    it('drops what is revoked', async () => {
      const key = randomUUID();
      scripts.set(key, () => {
        throw new RevokeTask('not wanted');
      });
      await gone((await tasks.distribute(ScriptedTask, { key })).id);
      expect(callsOf(key)).toHaveLength(1);
    });

    it('puts a task off that asks for it, at no cost', async () => {
      const key = randomUUID();
      scripts.set(key, () => {
        if (callsOf(key).length < 5) throw new RetryIn(10);
      });
      await gone((await tasks.distribute(ScriptedTask, { key }, { maxRetry: 0 })).id);
      expect(callsOf(key).map(({ task }) => task.attempt)).toEqual([1, 1, 1, 1, 1]);
    });

    it('ends an attempt at its timeout, and tells the handler', async () => {
      const key = randomUUID();
      scripts.set(key, () => new Promise(() => undefined));
      const { id } = await tasks.distribute(ScriptedTask, { key }, { timeout: 100, maxRetry: 0 });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect((await row(id))?.error).toMatch(/ran into its timeout/);
      expect(callsOf(key)[0]?.task.signal.aborted).toBe(true);
    });

    it('commits the effects of task.transaction and the completion together', async () => {
      const key = randomUUID();
      scripts.set(key, async (task) => {
        await task.transaction(async (manager) => {
          await manager.query('INSERT INTO effect VALUES ($1)', [task.id]);
          if (callsOf(key).length === 1) throw new Error('after the effect');
        });
        throw new Error('after it is done: no retry');
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await gone(id);
      expect(callsOf(key)).toHaveLength(2);
      expect(await engine.database.query('SELECT * FROM effect WHERE task = $1', [id])).toHaveLength(1);
    });

    const effectsOf = (id: string) => engine.database.query('SELECT * FROM effect WHERE task = $1', [id]);

    it('lets nobody wait for an effects transaction that takes its time', async () => {
      const key = randomUUID();
      let end: unknown;
      scripts.set(key, async (task) => {
        const aborted = new Promise((resolve) => task.signal.addEventListener('abort', resolve));
        await task
          .transaction(async (manager) => {
            await manager.query('INSERT INTO effect VALUES ($1)', [task.id]);
            await task.progress({ percent: 50 });
            await aborted;
          })
          .catch((error: unknown) => (end = error));
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await eventually(async () => (await admin.show(id))?.progress);
      expect((await admin.show(id))?.progress).toEqual({ percent: 50 });
      // Whoever wants the row has it at once.
      await engine.database.query('SELECT 1 FROM task WHERE id = $1 FOR UPDATE NOWAIT', [id]);
      const begin = Date.now();
      expect(await admin.cancel(id)).toBe('cancelled while running');
      await eventually(() => callsOf(key)[0]!.task.signal.aborted, 1_000);
      expect(Date.now() - begin).toBeLessThan(2_000);
      await eventually(() => end);
      expect(await effectsOf(id)).toEqual([]);
      expect(callsOf(key)).toHaveLength(1);
    });

    it('has connections for itself while the handler of every slot is in its effects transaction', async () => {
      const allOpen = Promise.withResolvers<void>();
      let open = 0;
      let told = 0;
      const keys = Array.from({ length: 15 }, () => randomUUID());
      for (const key of keys) {
        scripts.set(key, (task) =>
          task.transaction(async (manager) => {
            await manager.query('SELECT 1');
            if (++open === keys.length) allOpen.resolve();
            await allOpen.promise;
            await task.progress(50);
            told += 1;
          }),
        );
      }
      const distributed = await Promise.all(keys.map((key) => tasks.distribute(ScriptedTask, { key }, { maxRetry: 0 })));
      await Promise.all(distributed.map(({ id }) => gone(id)));
      expect([open, told]).toEqual([15, 15]);
    });

    it('rolls effects back when the task was lost to a newer attempt while they were made', async () => {
      const key = randomUUID();
      let end: unknown;
      scripts.set(key, async (task) => {
        await task
          .transaction(async (manager) => {
            await manager.query('INSERT INTO effect VALUES ($1)', [task.id]);
            await engine.database.query('UPDATE task SET delivery = 2000000 WHERE id = $1', [task.id]);
          })
          .catch((error: unknown) => (end = error));
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await eventually(() => end);
      expect(end).toBeInstanceOf(StaleAttempt);
      expect(await effectsOf(id)).toEqual([]);
      expect(await admin.cancel(id)).toMatch(/^cancelled/);
    });

    it('refuses a second task.transaction of one attempt, side by side, within the first, and after it, but not after a failure', async () => {
      const key = randomUUID();
      const refused = /called twice in one attempt/;
      let hasEnded = false;
      scripts.set(key, async (task) => {
        const insert = (manager: EntityManager) => manager.query('INSERT INTO effect VALUES ($1)', [task.id]);
        const undone = task.transaction(async (manager) => {
          await insert(manager);
          await expect(task.transaction(insert)).rejects.toThrow(refused);
          throw new Error('undone');
        });
        await expect(undone).rejects.toThrow('undone');
        const [first, second] = await Promise.allSettled([task.transaction(insert), task.transaction(insert)]);
        expect(first).toMatchObject({ status: 'fulfilled' });
        expect(second).toMatchObject({ status: 'rejected', reason: { message: expect.stringMatching(refused) } });
        await expect(task.transaction(insert)).rejects.toThrow(refused);
        hasEnded = true;
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await eventually(() => hasEnded);
      expect(await effectsOf(id)).toHaveLength(1);
      expect(await row(id)).toBeUndefined();
    });

    it('runs a task again whose effects transaction the database has ended', async () => {
      const key = randomUUID();
      scripts.set(key, (task) =>
        task.transaction(async (manager) => {
          await manager.query('INSERT INTO effect VALUES ($1)', [task.id]);
          if (callsOf(key).length > 1) return;
          await manager.query('SET LOCAL idle_in_transaction_session_timeout = 50');
          await new Promise((resolve) => setTimeout(resolve, 200));
        }),
      );
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await gone(id);
      expect(callsOf(key).map(({ task }) => task.attempt)).toEqual([1, 2]);
      expect(await effectsOf(id)).toHaveLength(1);
    });

    it('passes a unique key on to what the effects transaction distributes', async () => {
      const [key, next] = [randomUUID(), randomUUID()];
      const unique = { key };
      let successor: { id: string; duplicate: boolean } | undefined;
      scripts.set(key, async (task) => {
        await task.transaction(async (manager) => {
          // A savepoint that is rolled back gives the key back.
          const undone = manager.transaction(async (inner) => {
            await tasks.distribute(ScriptedTask, { key: next }, { manager: inner, unique });
            throw new Error('undone');
          });
          await expect(undone).rejects.toThrow('undone');
          successor = await tasks.distribute(ScriptedTask, { key: next }, { manager, unique, processIn: '1h' });
        });
      });
      const { id } = await tasks.distribute(ScriptedTask, { key }, { unique });
      await gone(id);
      expect(callsOf(key)).toHaveLength(1);
      expect(successor?.duplicate).toBe(false);
      expect(await tasks.distribute(ScriptedTask, { key: next }, { unique })).toEqual({ id: successor?.id, duplicate: true });
    });

    it('gives a unique key free with the burial, and takes it back with the redrive', async () => {
      const key = randomUUID();
      scripts.set(key, () => {
        throw new SkipRetry('not today');
      });
      const { id } = await tasks.distribute(ScriptedTask, { key }, { unique: { key } });
      await eventually(async () => (await row(id))?.state === 'dead');
      const later = { unique: { key }, processIn: '1h' } as const;
      const other = await tasks.distribute(ScriptedTask, { key }, later);
      expect(other.duplicate).toBe(false);
      await expect(admin.redriveOne(id)).rejects.toThrow(new InvalidTask(`the task ${other.id} has its unique key`));
      expect(await admin.redrive({ error: 'not today' })).toEqual({ redriven: 0, skipped: 1 });
      expect(await admin.cancel(other.id)).toBe('cancelled');
      const { promise: released, resolve: release } = Promise.withResolvers<void>();
      scripts.set(key, () => released);
      expect(await admin.redrive({ error: 'not today' })).toEqual({ redriven: 1, skipped: 0 });
      expect(await tasks.distribute(ScriptedTask, { key }, later)).toEqual({ id, duplicate: true });
      release();
      await gone(id);
    });

    it('keeps the result for its retention', async () => {
      const key = randomUUID();
      scripts.set(key, () => ({ answer: 42 }));
      const { id } = await tasks.distribute(ScriptedTask, { key }, { retention: '1h' });
      await eventually(async () => (await row(id))?.state === 'completed');
      expect((await row(id))?.result).toEqual({ answer: 42 });
    });

    it('lets one task have a unique key until it is done, and says so', async () => {
      const key = randomUUID();
      let release: () => void = () => undefined;
      const released = new Promise<void>((resolve) => (release = resolve));
      scripts.set(key, () => released);
      const results = await Promise.all(Array.from({ length: 20 }, () => tasks.distribute(ScriptedTask, { key }, { unique: { key } })));
      expect(results.filter((result) => !result.duplicate)).toHaveLength(1);
      expect(new Set(results.map((result) => result.id)).size).toBe(1);
      release();
      await gone(results[0]!.id);
      expect((await tasks.distribute(ScriptedTask, { key }, { unique: { key } })).duplicate).toBe(false);
    });

    it('lets one task have a unique key for a time, done or not', async () => {
      const key = randomUUID();
      const first = await tasks.distribute(ScriptedTask, { key }, { unique: { key, for: '2s' } });
      await eventually(async () => (await row(first.id))?.state === 'completed');
      expect(await tasks.distribute(ScriptedTask, { key }, { unique: { key, for: '2s' } })).toEqual({ id: first.id, duplicate: true });
      await eventually(async () => !(await tasks.distribute(ScriptedTask, { key }, { unique: { key, for: '2s' } })).duplicate);
    });

    it.each([
      ['a payload that does not fit', { payload: { key: 7 } }, /key/],
      ['a payload of a megabyte', { payload: { key: 'x'.repeat(1 << 20) } }, /more than 65536 bytes/],
      ['a NUL character', { payload: { key: 'a\0b' } }, /U\+0000/],
      ['a NUL character in a key', { payload: { key: 'k', 'a\0b': 1 } }, /U\+0000/],
      ['half a surrogate pair', { payload: { key: '😀'.slice(0, 1) } }, /surrogate/],
      ['a Date', { payload: { key: 'k', at: new Date() } }, /payload\.at is a Date/],
      ['undefined in an array', { payload: { key: 'k', list: [undefined] } }, /payload\.list\[0\]/],
      ['a NUL character in a unique key', { options: { unique: { key: 'a\0b' } } }, /unique\.key/],
      ['half a surrogate pair in a unique key', { options: { unique: { key: '😀'.slice(1) } } }, /unique\.key/],
      ['a unique key that is no text', { options: { unique: { key: 7 } } }, /unique\.key/],
      ['a backoff that is none', { options: { backoff: { type: 'fixed', delay: '' } } }, /backoff/],
      ['an unknown queue', { options: { queue: 'nobody' } }, /not one of this app's/],
      ['a negative delay', { options: { processIn: -1 } }, /processIn/],
      ['an absurd delay', { options: { processIn: '1000y' } }, /processIn/],
      ['a date that is none', { options: { processAt: new Date('x') } }, /processAt/],
      ['both delays', { options: { processIn: 1, processAt: new Date() } }, /exclude/],
      ['retries that are no number', { options: { maxRetry: 1.5 } }, /maxRetry/],
    ])(
      'refuses %s before anything is written',
      async (_, { payload: given = { key: 'k' }, options = {} }: { payload?: unknown; options?: object }, message) => {
        const before = await engine.database.query('SELECT id FROM task');
        const attempt = tasks.distribute(ScriptedTask, given as Payload, options as never);
        await expect(attempt).rejects.toThrow(InvalidTask);
        await expect(attempt).rejects.toThrow(message);
        expect((await engine.database.query('SELECT id FROM task')).length).toBeLessThanOrEqual(before.length);
      },
    );

    it('takes for a payload what only looks as if it could not be stored', async () => {
      const key = `${randomUUID()} \\u0000 \\ud83d 😀`;
      await gone((await tasks.distribute(ScriptedTask, { key, what: undefined })).id);
      expect(callsOf(key)).toHaveLength(1);
    });

    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    it.each<[what: string, error: unknown]>([
      ['a NUL and half a character', new Error('a\0b\uD83D')],
      ['two megabytes', new Error('x'.repeat(2_000_000))],
      ['a proxy that cannot be read', revoked.proxy],
      ['an error of another attempt', new StaleAttempt('of another attempt')],
      ['an unreachable service', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
    ])('counts an attempt that throws %s, and buries the task after the last one', async (_, error) => {
      const key = randomUUID();
      scripts.set(key, () => Promise.reject(error));
      const { id } = await tasks.distribute(ScriptedTask, { key }, { maxRetry: 1 });
      const dead = await eventually(async () => ((await row(id))?.state === 'dead' ? await row(id) : undefined));
      expect(callsOf(key).map(({ task }) => task.attempt)).toEqual([1, 2]);
      expect(dead).toMatchObject({ reason: 'retries exhausted', failures: 2 });
      expect(dead.error.length).toBeLessThanOrEqual(8 * 1024);
    });

    it('buries a task whose handler, backoff rule and hook all fail', async () => {
      const key = randomUUID();
      scripts.set(key, () => Promise.reject(undefined));
      const { id } = await tasks.distribute(FailingTask, { key });
      await eventually(async () => (await row(id))?.state === 'dead');
      expect(callsOf(key)).toHaveLength(1);
      await expect(tasks.distribute(FailingTask, { key, what: 'refused' })).rejects.toThrow(/not that/);
    });

    it('keeps a bounded history: short texts, the first event and the newest, what is put off for one reason once', async () => {
      const key = randomUUID();
      scripts.set(key, async (task) => {
        const count = callsOf(key).length;
        if (count <= 3) throw new RetryIn(1, 'not yet');
        if (count === 4) {
          await engine.database.query(
            `UPDATE task SET history = history || (SELECT jsonb_agg(jsonb_build_object('at', now(), 'what', 'event ' || n)) FROM generate_series(1, 29) AS n)
             WHERE id = $1`,
            [task.id],
          );
        }
        throw new Error('é'.repeat(2_000_000));
      });
      const { id } = await tasks.distribute(ScriptedTask, { key });
      await eventually(async () => (await row(id))?.state === 'dead');
      await admin.redriveOne(id);
      const dead = await eventually(async () =>
        callsOf(key).length === 9 && (await row(id))?.state === 'dead' ? await row(id) : undefined,
      );
      const story = dead.history.map((entry) => entry.what);
      expect(story).toHaveLength(30);
      expect(story.filter((what) => what.startsWith('put off'))).toEqual(['put off: not yet']);
      expect(story[0]).toBe('put off: not yet');
      expect(story.slice(-4)).toEqual(['brought back by an operator', 'attempt 1 failed', 'attempt 2 failed', 'buried: retries exhausted']);
      const [size] = await engine.database.query<{ bytes: number }>('SELECT octet_length(t::text) AS bytes FROM task t WHERE id = $1', [
        id,
      ]);
      expect(size!.bytes).toBeLessThan(40_000);
    });

    it('keeps the result of the handler that used task.transaction, whatever its work returned, and none of one that failed', async () => {
      const kept = async (result: unknown, fails = false) => {
        const key = randomUUID();
        scripts.set(key, async (task) => {
          await expect(task.transaction(async () => 'of the transaction')).resolves.toBe('of the transaction');
          if (fails) throw new Error('after it is done');
          return result;
        });
        const { id } = await tasks.distribute(ScriptedTask, { key }, { retention: '1h' });
        await eventually(async () => (await row(id))?.state === 'completed');
        // The worker has told BullMQ, and so is done with it.
        if (dispatcher === 'redis') await eventually(async () => (await admin.show(id))?.job === 'completed');
        expect(callsOf(key)).toHaveLength(1);
        return (await row(id))?.result;
      };
      expect(await kept({ answer: 42 })).toEqual({ answer: 42 });
      expect(await kept('a\0b')).toEqual({ notKept: 'the result holds the character U+0000' });
      expect(await kept(undefined)).toBeNull();
      expect(await kept('never', true)).toBeNull();
    });
  });
}
