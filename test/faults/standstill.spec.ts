import { Injectable, type INestApplicationContext } from '@nestjs/common';
import { Task, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { Election } from '../../libs/tasks/src/ledger/election.js';
import { LEASE } from '../../libs/tasks/src/ledger/worker-lease.js';
import { createEngine, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { Proxy } from './proxy.ts';

/** How long the server stands still beyond a lease: what was sent before then is given up by the workers, and sent once more. Milliseconds. */
const BEYOND = 4_000;

/** More than the worker that judges has slots. */
const TASKS = 5;

@Injectable()
@Task({ type: 'test.long', payload: z.object({}), timeout: 120_000 })
class Long implements TaskHandler<object> {
  static runs = 0;
  static readonly end = Promise.withResolvers<void>();

  async handle(): Promise<void> {
    Long.runs += 1;
    await Long.end.promise;
  }
}

let engine: TestEngine;
const proxies: Proxy[] = [];
beforeAll(async () => {
  engine = await createEngine('postgres');
});
afterAll(async () => {
  Long.end.resolve();
  await engine?.close();
  await Promise.all(proxies.map((proxy) => proxy.stop()));
});

/** A worker that reaches its database through a proxy of its own. */
async function workerBehindProxy(slots: number): Promise<{ app: INestApplicationContext; proxy: Proxy }> {
  const url = new URL(engine.database.url);
  const proxy = await Proxy.start(url.host);
  proxies.push(proxy);
  url.port = String(proxy.port);
  return { app: await engine.worker([Long], { DATABASE_URL: url.href, WORKER_CONCURRENCY: String(slots) }), proxy };
}

const workers = (condition: string) => engine.database.query<{ id: number }>(`SELECT id FROM task_worker WHERE ${condition} ORDER BY id`);

it(
  'a worker is not taken for dead where the database stood still, whatever it is told first as it goes on',
  { timeout: 120_000 },
  async () => {
    const judge = await workerBehindProxy(1);
    await eventually(() => (judge.app.get(Election, { strict: false }).heldFor ?? 0) > LEASE, 30_000);
    const [judging] = await workers('true');
    const other = await workerBehindProxy(5);
    await other.app.get(TaskDistributor, { strict: false }).distributeMany(
      Long,
      Array.from({ length: TASKS }, () => ({})),
    );
    await eventually(() => Long.runs === TASKS, 10_000);
    const both = await workers('true');
    expect(both).toHaveLength(2);

    // What the one sends arrives late, and the other one is out of touch altogether.
    judge.proxy.hold('waybill-tasks');
    other.proxy.cut();
    await eventually(async () => (await workers(`lease_until < now() - interval '${BEYOND} ms'`)).length > 0, 30_000);
    judge.proxy.release();
    await eventually(async () => (await workers(`lease_until > now() AND id = ${judging!.id}`)).length === 1, 10_000);
    other.proxy.restore();

    await eventually(async () => (await workers('lease_until > now()')).length === 2, 10_000);
    expect(await workers('true')).toEqual(both);
    Long.end.resolve();
    await eventually(async () => (await engine.database.query('SELECT FROM task')).length === 0, 10_000);
    expect(Long.runs).toBe(TASKS);
  },
);
