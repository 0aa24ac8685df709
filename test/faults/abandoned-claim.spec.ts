import { Config } from '@app/config';
import { createDataSource } from '@app/database';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Ledger } from '../../libs/tasks/src/ledger.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { Proxy } from './proxy.ts';

let database: TestDatabase;
const dataSources: DataSource[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  await Promise.all(dataSources.map((dataSource) => dataSource.destroy()));
  await database.drop();
});

async function ledgerAt(url: string): Promise<Ledger> {
  const dataSource = await createDataSource(Config.parse({ DATABASE_URL: url }), [], 'test').initialize();
  dataSources.push(dataSource);
  return new Ledger(dataSource);
}

it('tasks that a relay has claimed over a connection that died are another one’s well within the 30 s', async () => {
  const proxy = await Proxy.start(new URL(database.url).host);
  const throughProxy = new URL(database.url);
  throughProxy.port = String(proxy.port);
  const lost = await ledgerAt(throughProxy.href);
  const other = await ledgerAt(database.url);
  await database.query(
    `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'test.task', 'critical', '{}', '{"maxRetry":0,"timeout":1000}')`,
  );

  const claimed = Promise.withResolvers<void>();
  const never = lost.dispatchPending(() => {
    // The server is not told: to it, the relay is still in its transaction, and the row is locked.
    proxy.swallow();
    claimed.resolve();
    return Promise.resolve();
  });
  never.catch(() => undefined);
  await claimed.promise;
  expect(await other.dispatchPending(() => Promise.resolve())).toBe(0);
  await eventually(async () => (await other.dispatchPending(() => Promise.resolve())) === 1, 20_000);
  await never.catch(() => undefined);
  await proxy.stop();
});
