import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { Injectable } from '@nestjs/common';
import { Task, TaskDistributor, type TaskHandler } from '@app/tasks';
import { describe, expect, it, type TestContext } from 'vitest';
import { z } from 'zod';
import { ERROR, WARN, withClockShiftedBy } from '../support/app-process.js';
import { createEngine, type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { Waybill } from '../support/waybill.js';

/** How long a lost worker's task is left alone: a lease, and some more. Milliseconds. */
const LEFT_ALONE = 25_000;

/** What runs until the test lets it end, by the dispatcher that it came from. */
const running = new Map<string, { runs: number; held: Promise<void> }>();
const release = new Map<string, () => void>();
const payload = z.object({ dispatcher: z.string() });

@Injectable()
@Task({ type: 'test.held', payload, timeout: '5m' })
class Held implements TaskHandler<z.output<typeof payload>> {
  async handle({ dispatcher }: z.output<typeof payload>): Promise<void> {
    const run = running.get(dispatcher)!;
    run.runs += 1;
    await run.held;
  }
}

/** A system without its apps, and what the tests ask of its ledger. */
async function createSystem(dispatcher: Dispatcher, onTestFinished: TestContext['onTestFinished']) {
  const waybill = await Waybill.create(dispatcher);
  onTestFinished(() => waybill.close());

  /** Distributes a task that does nothing. @param due seconds from now. @param options of the row. @returns its id. */
  const distribute = async (due: number, options: object = {}): Promise<string> => {
    const id = randomUUID();
    await waybill.database.query(
      `WITH task AS (
         INSERT INTO task (id, type, queue, payload, options, run_at)
         VALUES ($1, 'account.purge_email_verifications', 'default', '{}', $2, now() + $3::float8 * interval '1 s'))
       SELECT pg_notify('waybill_task', 'default')`,
      [id, { maxRetry: 0, timeout: 60_000, ...options }, due],
    );
    return id;
  };
  const stateOf = async (id: string) =>
    (await waybill.database.query<{ state: string }>('SELECT state FROM task WHERE id = $1', [id]))[0]?.state ?? 'done';
  const done = (id: string) => eventually(async () => (await stateOf(id)) === 'done');
  const databaseTime = async () => (await waybill.database.query<{ now: Date }>('SELECT now()'))[0]!.now.getTime();
  const begun = (id: string) => waybill.lines.filter(({ msg, taskId }) => msg === 'task completed' && taskId === id).length;
  return { waybill, distribute, stateOf, done, databaseTime, begun };
}

/** Each on a database of its own, and side by side: they do little but wait. */
describe.concurrent.each(['postgres', 'redis'] as const)('a worker whose clock is wrong, on %s', { timeout: 120_000 }, (dispatcher) => {
  const test = it.runIf(isAvailable(dispatcher));
  const onRedis = dispatcher === 'redis';

  test('90 s ahead: no task runs before its time, and none is late or buried for it', async ({ onTestFinished }) => {
    const { waybill, distribute, stateOf, done, databaseTime, begun } = await createSystem(dispatcher, onTestFinished);
    const wrong = await waybill.startWorker(withClockShiftedBy(90_000));
    const told = await wrong.line(({ msg }) => /(89|90)\.\d s ahead of the database's/.test(msg));
    expect(told).toMatchObject({ level: onRedis ? ERROR : WARN, skewMs: expect.closeTo(90_000, -3) });

    const later = await distribute(60);
    const worthwhile = await distribute(0, { deadline: new Date((await databaseTime()) + 60_000).toISOString() });
    if (onRedis) {
      // It relays, by the time of the database; and takes nothing.
      for (const id of [later, worthwhile]) await eventually(async () => (await stateOf(id)) === 'dispatched');
      const redis = new Redis(`redis://${waybill.environment['REDIS_ADDRESS']}`);
      const score = await redis.zscore(`{${waybill.environment['REDIS_PREFIX']}-default}:default:delayed`, later);
      redis.disconnect();
      const [row] = await waybill.database.query<{ runAt: Date }>('SELECT run_at AS "runAt" FROM task WHERE id = $1', [later]);
      expect(Math.abs(Number(score) / 0x1000 - row!.runAt.getTime())).toBeLessThan(1_000);
      expect([await stateOf(worthwhile), wrong.lines.filter(({ taskId }) => taskId !== undefined)]).toEqual(['dispatched', []]);

      const right = await waybill.startWorker();
      await done(worthwhile);
      await right.stop();
    }
    await done(worthwhile);
    if (onRedis) {
      wrong.signal('SIGCONT');
      await wrong.line(({ msg }) => msg === 'the clock of this machine is right again');
    }
    // By then it has looked often enough for what would be due.
    for (let count = 0; count < 5; count++) await done(await distribute(0.5));
    expect([await stateOf(later), begun(later)]).toEqual([onRedis ? 'dispatched' : 'pending', 0]);
    expect(wrong.lines.filter(({ msg }) => /takes no tasks/.test(msg))).toHaveLength(onRedis ? 1 : 0);
    expect(await wrong.stop()).toBe(0);
  });

  test('20 s ahead: it does not start what another one runs', async ({ onTestFinished }) => {
    const { waybill, databaseTime, done, stateOf } = await createSystem(dispatcher, onTestFinished);
    const { REDIS_ADDRESS = '', REDIS_PREFIX = '' } = waybill.environment;
    const engine = await createEngine(dispatcher, { database: waybill.database });
    const right = await engine.worker([Held], { REDIS_ADDRESS, REDIS_PREFIX });
    onTestFinished(() => right.close());
    const held = new Promise<void>((resolve) => release.set(dispatcher, resolve));
    onTestFinished(() => release.get(dispatcher)!());
    running.set(dispatcher, { runs: 0, held });
    const { id } = await right.get(TaskDistributor, { strict: false }).distribute(Held, { dispatcher });
    await eventually(() => running.get(dispatcher)!.runs === 1);

    const wrong = await waybill.startWorker(withClockShiftedBy(20_000));
    await wrong.line(({ msg }) => /(19|20)\.\d s ahead of the database's/.test(msg));
    const since = await databaseTime();
    await eventually(async () => (await databaseTime()) - since > LEFT_ALONE, LEFT_ALONE + 10_000);
    // It does not know the task, and would have put it off.
    expect(wrong.lines.filter(({ taskId }) => taskId === id)).toEqual([]);
    expect([running.get(dispatcher)!.runs, await stateOf(id)]).toEqual([1, onRedis ? 'dispatched' : 'pending']);
    release.get(dispatcher)!();
    await done(id);
    expect(running.get(dispatcher)!.runs).toBe(1);
  });
});
