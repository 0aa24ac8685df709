import { setTimeout as wait } from 'node:timers/promises';
import { Injectable, type INestApplicationContext, type Provider } from '@nestjs/common';
import { RetryIn, Task, type TaskContext, TaskDistributor, type TaskHandler, TaskQueues } from '@app/tasks';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { z } from 'zod';
import { createEngine, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

type Run = (number: number, context: TaskContext) => Promise<void> | void;

/** A task that says what is to become of each of its runs. */
function recordedAs(type: string, run: Run): { task: Provider; count: () => number } {
  let count = 0;
  @Injectable()
  @Task({ type, payload: z.object({}) })
  class Recorded implements TaskHandler<object> {
    async handle(_: object, context: TaskContext): Promise<void> {
      await run(++count, context);
    }
  }
  return { task: Recorded, count: () => count };
}
const recorded = (run: Run) => recordedAs('test.recorded', run);

/** Refuses the first commit in which a task is marked as dispatched, once BullMQ has had the time to start it. */
const REFUSE_FIRST_MARK = `
  CREATE SEQUENCE marks;
  CREATE FUNCTION refuse_first_mark() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF nextval('marks') = 1 THEN
      PERFORM pg_sleep(2);
      RAISE EXCEPTION 'the first mark is refused';
    END IF;
    RETURN NULL;
  END $$;
  CREATE CONSTRAINT TRIGGER refuse_first_mark AFTER UPDATE ON task DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.state = 'pending' AND NEW.state = 'dispatched') EXECUTE FUNCTION refuse_first_mark()`;

/** As what a worker of a deployment without Redis has claimed that was lost. */
const CLAIM_BY_LOST_WORKER = `UPDATE task SET claimed_by = 1000, delivery = 1000005`;

/** As `Takeover` leaves what was in BullMQ. */
const TAKE_OVER = `UPDATE task SET state = 'pending', run_at = now()`;

/** Longer than a task is left in peace before BullMQ is asked about it. Milliseconds. */
const FOUND_WITHIN = 40_000;

describe.skipIf(!isAvailable('redis'))(
  'what the ledger and BullMQ say of a task that the other does not know of, on redis',
  { timeout: 90_000 },
  () => {
    let engine: TestEngine;
    beforeEach(async () => {
      engine = await createEngine('redis');
    });
    afterEach(() => engine?.close());

    const rows = (condition = 'true') => engine.database.query(`SELECT generation FROM task WHERE ${condition}`);
    const marks = async () => (await engine.database.query<{ marks: number }>('SELECT last_value::int AS marks FROM marks'))[0]!.marks;
    const distribute = (app: INestApplicationContext, task: Provider) =>
      app.get(TaskDistributor, { strict: false }).distribute(task as never, {} as never);

    it('a task whose mark is lost is handed over once more, and goes on as the job that BullMQ has', async () => {
      await engine.database.query(REFUSE_FIRST_MARK);
      const end = Promise.withResolvers<void>();
      // Only a delivery that is not the first one is announced to the ledger.
      const { task, count } = recorded((number) => {
        if (number === 1) throw new RetryIn(100);
        return end.promise;
      });
      await distribute(await engine.worker([task]), task);
      await eventually(() => count() === 2);
      await eventually(async () => (await rows(`state = 'dispatched'`)).length === 1);
      expect(await marks()).toBe(2);
      expect(await rows()).toEqual([{ generation: 0 }]);
      end.resolve();
      await eventually(async () => (await rows()).length === 0);
      expect(count()).toBe(2);
    });

    it('the same when a worker had claimed it from the ledger and was lost: it runs once', async () => {
      await engine.database.query(REFUSE_FIRST_MARK);
      const { task, count } = recorded(() => undefined);
      await distribute(await engine.admin([task]), task);
      await engine.database.query(CLAIM_BY_LOST_WORKER);
      await engine.worker([task]);
      await eventually(async () => (await rows()).length === 0, FOUND_WITHIN);
      expect(await marks()).toBeGreaterThan(1);
      expect(count()).toBe(1);
    });

    it('a task that BullMQ has begun, and has no more, begins after that, and runs once', async () => {
      const { task, count } = recorded((number) => {
        if (number <= 2) throw new RetryIn(number === 1 ? 100 : '1h');
      });
      const app = await engine.worker([task]);
      await distribute(app, task);
      await eventually(async () => count() === 2 && (await rows(`run_at > now() + interval '30 minutes'`)).length === 1);
      await app.get(TaskQueues, { strict: false }).of('default').obliterate({ force: true });
      await engine.database.query(TAKE_OVER);
      await eventually(async () => (await rows()).length === 0, FOUND_WITHIN);
      expect(count()).toBe(3);
    });

    it('what BullMQ loses while a worker runs it is left to that worker, to its end', async () => {
      const waiting = recorded(() => undefined);
      // Longer than it takes until a lock that is gone is noticed, and what is told so may take to end.
      const { task, count } = recordedAs('test.long', (_, { signal }) => wait(25_000, undefined, { signal }));
      const app = await engine.worker([task, waiting.task]);
      await distribute(app, task);
      await app.get(TaskDistributor, { strict: false }).distribute(waiting.task as never, {} as never, { processIn: '8s' });
      await eventually(async () => count() === 1 && (await rows(`state = 'dispatched'`)).length === 2);
      await app.get(TaskQueues, { strict: false }).of('default').obliterate({ force: true });
      await eventually(() => waiting.count() === 1, FOUND_WITHIN);
      // It was found in the same turn, and still runs.
      expect(await rows(`type = 'test.long'`)).toEqual([{ generation: 0 }]);
      await eventually(async () => (await rows()).length === 0, FOUND_WITHIN);
      expect([count(), waiting.count()]).toEqual([1, 1]);
    });

    it('and is dispatched anew soon when it has failed there, however much else was lost', async () => {
      const waiting = recorded(() => undefined);
      const { task, count } = recordedAs('test.long', async (number) => {
        if (number > 1) return;
        await wait(15_000);
        throw new RetryIn(100);
      });
      const app = await engine.worker([task, waiting.task]);
      await distribute(app, task);
      const distributor = app.get(TaskDistributor, { strict: false });
      const others = Array.from({ length: 1_000 }, () => ({}) as never);
      await distributor.distributeMany(waiting.task as never, others, { processIn: '1h' });
      await eventually(async () => count() === 1 && (await rows(`state = 'dispatched'`)).length === 1_001);
      await app.get(TaskQueues, { strict: false }).of('default').obliterate({ force: true });
      await eventually(async () => (await rows(`generation = 1 AND state = 'dispatched'`)).length === 1_000, FOUND_WITHIN);
      await eventually(() => count() === 2, FOUND_WITHIN);
      await eventually(async () => (await rows()).length === 1_000);
    });

    it('takes the lock of a lost worker, and not that of one that has the job by then', async () => {
      const redis = new Redis(`redis://${inject('redisAddress')}`);
      const queue = (await engine.admin([])).get(TaskQueues, { strict: false }).of('default');
      const lock = queue.toKey('job:lock');
      await redis.lpush(queue.toKey('active'), 'job');
      await redis.hset(queue.toKey('job'), { pb: '7' });
      await redis.set(lock, 'of 7');
      await queue.unlockLost(async () => {
        await redis.set(lock, 'of another');
        return new Set();
      });
      expect(await redis.get(lock)).toBe('of another');
      expect(await redis.smembers(queue.toKey('stalled'))).toEqual([]);
      await queue.unlockLost(() => Promise.resolve(new Set(['7'])));
      expect(await redis.get(lock)).toBe('of another');
      await queue.unlockLost(() => Promise.resolve(new Set()));
      expect(await redis.get(lock)).toBeNull();
      expect(await redis.smembers(queue.toKey('stalled'))).toEqual(['job']);
      await redis.quit();
    });
  },
);
