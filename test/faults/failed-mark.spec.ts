import { Injectable } from '@nestjs/common';
import { RetryIn, Task, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createEngine, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

@Injectable()
@Task({ type: 'test.marked', payload: z.object({}) })
class Marked implements TaskHandler<object> {
  static runs = 0;
  static readonly end = Promise.withResolvers<void>();

  async handle(): Promise<void> {
    Marked.runs += 1;
    // Only a delivery that is not the first one is announced to the ledger.
    if (Marked.runs === 1) throw new RetryIn(100);
    await Marked.end.promise;
  }
}

/** Refuses the first commit in which a task is marked as dispatched, once BullMQ has had the time to start it. */
const REFUSE_FIRST_MARK = `
  CREATE SEQUENCE marks;
  CREATE FUNCTION refuse_first_mark() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF nextval('marks') = 1 THEN
      PERFORM pg_sleep(1);
      RAISE EXCEPTION 'the first mark is refused';
    END IF;
    RETURN NULL;
  END $$;
  CREATE CONSTRAINT TRIGGER refuse_first_mark AFTER UPDATE ON task DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.state = 'pending' AND NEW.state = 'dispatched') EXECUTE FUNCTION refuse_first_mark()`;

describe.skipIf(!isAvailable('redis'))('a relay whose mark is lost, on redis', { timeout: 60_000 }, () => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await createEngine('redis');
    await engine.database.query(REFUSE_FIRST_MARK);
  });
  afterAll(async () => {
    Marked.end.resolve();
    await engine?.close();
  });

  it('hands the task over once more, and the job that BullMQ has is the only one', async () => {
    const app = await engine.worker([Marked]);
    await app.get(TaskDistributor, { strict: false }).distribute(Marked, {});
    await eventually(() => Marked.runs === 2, 20_000);
    await eventually(async () => (await engine.database.query(`SELECT FROM task WHERE state = 'dispatched'`)).length === 1, 20_000);
    expect(await engine.database.query('SELECT last_value::int AS marks FROM marks')).toEqual([{ marks: 2 }]);
    expect(await engine.database.query('SELECT generation FROM task')).toEqual([{ generation: 0 }]);
    Marked.end.resolve();
    await eventually(async () => (await engine.database.query('SELECT FROM task')).length === 0, 20_000);
    expect(Marked.runs).toBe(2);
  });
});
