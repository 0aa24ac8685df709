import { afterAll, beforeAll, expect, it } from 'vitest';
import { Handover } from '../../libs/tasks/src/ledger/handover.js';
import { EngineOptions } from '../../libs/tasks/src/options.js';
import { TasksPool } from '../../libs/tasks/src/ledger/tasks-pool.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { Proxy } from './proxy.ts';

let database: TestDatabase;
const pools: TasksPool[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.onApplicationShutdown()));
  await database.drop();
});

function handoverAt(url: string): Handover {
  const pool = new TasksPool(new EngineOptions({ database: { url } }));
  pools.push(pool);
  return new Handover(pool);
}

it('tasks that a relay has claimed over a connection that died are another one’s well within the 30 s', async () => {
  const proxy = await Proxy.start(new URL(database.url).host);
  const throughProxy = new URL(database.url);
  throughProxy.port = String(proxy.port);
  const lost = handoverAt(throughProxy.href);
  const other = handoverAt(database.url);
  await database.query(
    `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'test.task', 'critical', '{}', '{"maxRetry":0,"timeout":1000}')`,
  );

  const claimed = Promise.withResolvers<void>();
  const never = lost.dispatchPending(['critical'], () => {
    // The server is not told: to it, the relay is still in its transaction, and the row is locked.
    proxy.swallow();
    claimed.resolve();
    return Promise.resolve();
  });
  never.catch(() => undefined);
  await claimed.promise;
  expect(await other.dispatchPending(['critical'], () => Promise.resolve())).toBe(0);
  await eventually(async () => (await other.dispatchPending(['critical'], () => Promise.resolve())) === 1, 20_000);
  await never.catch(() => undefined);
  await proxy.stop();
});
