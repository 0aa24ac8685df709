import { Injectable, type INestApplicationContext } from '@nestjs/common';
import { Task, TaskAdmin, TaskDistributor, type TaskHandler, TaskQueues } from '@app/tasks';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { Ledger } from '../../libs/tasks/src/ledger/ledger.js';
import { createEngine, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const WORKERS = 4;
const TASKS = 1_200;
/** How many rows a sweep reads at a time. */
const PAGE = 500;

const payload = z.object({});

@Injectable()
@Task({ type: 'test.counted', payload })
class Counted implements TaskHandler<object> {
  static runs = 0;

  async handle(): Promise<void> {
    Counted.runs += 1;
  }
}

describe.skipIf(!isAvailable('redis'))('what one worker of all does, on redis', { timeout: 90_000 }, () => {
  let engine: TestEngine;
  let workers: INestApplicationContext[];
  /** Which worker has called it, each time. */
  const callersOf = ({ mock }: { mock: { contexts: unknown[] } }) =>
    mock.contexts.map((ledger) => workers.findIndex((app) => app.get(Ledger, { strict: false }) === ledger));

  beforeAll(async () => {
    engine = await createEngine('redis');
    workers = await Promise.all(Array.from({ length: WORKERS }, () => engine.worker([Counted])));
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await engine?.close();
  });

  it('is a search for what was lost, which costs the fleet one sweep; when that worker ends, another one takes its place', async () => {
    const sampled = vi.spyOn(Ledger.prototype, 'leastVerified');
    const swept = vi.spyOn(Ledger.prototype, 'dispatchedPage');
    const [app] = workers;
    await app!.get(TaskAdmin, { strict: false }).pause('default');
    await app!.get(TaskDistributor, { strict: false }).distributeMany(
      Counted,
      Array.from({ length: TASKS }, () => ({})),
    );
    await eventually(async () => (await engine.database.query(`SELECT FROM task WHERE state = 'dispatched'`)).length === TASKS);
    // The first sweeps are those of the start, before there was a mark in Redis.
    const queue = app!.get(TaskQueues, { strict: false }).of('default');
    await eventually(() => queue.getBackend().getQueueMetaField('waybill'));
    const before = swept.mock.calls.length;

    await queue.obliterate({ force: true });
    await eventually(async () => (await engine.database.query('SELECT FROM task WHERE generation = 1')).length === TASKS);
    await app!.get(TaskAdmin, { strict: false }).resume('default');
    await eventually(async () => (await engine.database.query('SELECT FROM task')).length === 0);
    expect(Counted.runs).toBe(TASKS);
    const pages = swept.mock.calls.slice(before).filter(([name]) => name === 'default');
    expect(pages).toHaveLength(Math.floor(TASKS / PAGE) + 1);
    const [elected, ...others] = new Set([...callersOf(swept), ...callersOf(sampled)]);
    expect(others).toEqual([]);

    // Another one takes its place within 30 s of its end.
    await workers[elected!]!.close();
    await eventually(() => callersOf(sampled).some((worker) => worker !== elected), 30_000);
  });
});
