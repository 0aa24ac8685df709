import { Socket } from 'node:net';
import { Config } from '@app/config';
import { createDataSource } from '@app/database';
import { Client, isCutShort, isDatabaseUnavailable, PoolClient } from '@app/postgres';
import pg from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { dataSourceOptions } from '../../libs/database/src/data-source.js';
import { Listener } from '../../libs/tasks/src/ledger/listener.js';
import { EngineOptions } from '../../libs/tasks/src/options.js';
import { TasksPool } from '../../libs/tasks/src/ledger/tasks-pool.js';
import { TaskLogger } from '../../libs/tasks/src/task-logger.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { Proxy } from './proxy.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

/** Hands out a connection, and ends it before whoever asked for it can have put a listener on it. */
function failOnCheckout(pool: pg.Pool): Promise<void> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client, release) => {
      if (error || !client) return reject(error);
      try {
        client.emit('error', new Error('terminating connection due to administrator command'));
        resolve();
      } catch (unhandled) {
        reject(unhandled);
      } finally {
        release(true);
      }
    });
  });
}

it('a connection of the database that ends as it is handed out does not end the process', async () => {
  const dataSource = await createDataSource(Config.parse({ DATABASE_URL: database.url }), [], 'test').initialize();
  const { master } = dataSource.driver as unknown as { master: pg.Pool };
  await expect(failOnCheckout(master)).resolves.toBeUndefined();
  await dataSource.destroy();
});

it('a connection that does not answer is not given to the next one', async () => {
  const proxy = await Proxy.start(new URL(database.url).host);
  const url = new URL(database.url);
  url.port = String(proxy.port);
  const options = dataSourceOptions(Config.parse({ DATABASE_URL: url.href, DATABASE_POOL_SIZE: '1' }), 'test');
  const dataSource = await new DataSource({
    ...options,
    extra: { ...options.extra, query_timeout: 300 },
  } as DataSourceOptions).initialize();
  await dataSource.query('SELECT 1');
  proxy.swallow();
  await expect(dataSource.transaction((manager) => manager.query('SELECT 1'))).rejects.toThrow('Query read timeout');
  await expect(dataSource.query('SELECT 1 AS one')).resolves.toEqual([{ one: 1 }]);
  await dataSource.destroy();
  await proxy.stop();
});

/** Stops the whole process for a while, as a handler does that computes. */
const block = (milliseconds: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

describe.each([
  ['a connection', Client],
  ['one of a pool', PoolClient],
])('%s does not hold it against the server that the process stood still', (_, Kind) => {
  let client: pg.Client;
  const connect = (port = new URL(database.url).port) => {
    const url = new URL(database.url);
    url.port = port;
    url.searchParams.set('query_timeout', '300');
    client = new Kind({ connectionString: url.href });
    client.on('error', () => undefined);
    return client.connect();
  };
  afterEach(() => client.end());
  const sleep = (seconds: number) => client.query('SELECT pg_sleep($1)', [seconds]);

  it('a query that was under way is answered', async () => {
    await connect();
    const answer = client.query('SELECT 1 AS one');
    block(600);
    await expect(answer).resolves.toMatchObject({ rows: [{ one: 1 }] });
  });

  it('so are a transaction, and what waits behind it on the connection', async () => {
    await connect();
    for (let round = 0; round < 2; round++) {
      const answers = [client.query('START TRANSACTION'), sleep(0.1), sleep(0.2), client.query('COMMIT')];
      block(600);
      await expect(Promise.all(answers)).resolves.toHaveLength(4);
    }
  });

  it('each has its own time, and none before it is sent', async () => {
    await connect();
    await expect(Promise.all([sleep(0.2), sleep(0.2), sleep(0.2)])).resolves.toHaveLength(3);
  });

  it('and a server that does not answer is still given up, with all that waits for it', async () => {
    const proxy = await Proxy.start(new URL(database.url).host);
    await connect(String(proxy.port));
    await client.query('SELECT 1');
    proxy.swallow();
    const answers = [client.query('SELECT 1'), client.query('SELECT 2')];
    block(600);
    const failures = (await Promise.allSettled(answers)).map((settled) => (settled as PromiseRejectedResult).reason as Error);
    expect(failures.map(({ message }) => message)).toEqual(['Query read timeout', 'Query read timeout']);
    await expect(client.query('SELECT 1')).rejects.toSatisfy(isDatabaseUnavailable);
    await proxy.stop();
  });
});

it('a statement may take as long as DATABASE_STATEMENT_TIMEOUT says, and the server is what ends it', async () => {
  const open = (limit: string) =>
    createDataSource(Config.parse({ DATABASE_URL: database.url, DATABASE_STATEMENT_TIMEOUT: limit }), [], 'test').initialize();
  const [short, long] = [await open('200ms'), await open('20s')];
  const failure = await short.query('SELECT pg_sleep(5)').catch((error: unknown) => error);
  expect(failure).toMatchObject({ driverError: { code: '57014' } });
  // An attempt that asks for too much has failed; its database is well.
  expect([isCutShort(failure), isDatabaseUnavailable(failure)]).toEqual([true, false]);
  await expect(long.query('SELECT pg_sleep(0.4)')).resolves.toHaveLength(1);
  await expect(long.query('SHOW statement_timeout')).resolves.toEqual([{ statement_timeout: '20s' }]);
  // What the client waits for follows it: the default would give up after 12 s.
  expect(long.options).toMatchObject({ extra: { query_timeout: 22_000 } });
  await Promise.all([short.destroy(), long.destroy()]);
});

it('a migration that changes a table costs a connection one failed statement at most', async () => {
  const dataSource = await createDataSource(Config.parse({ DATABASE_URL: database.url, DATABASE_POOL_SIZE: '1' }), [], 'test').initialize();
  await dataSource.query('CREATE TABLE changing (id integer)');
  const read = () => dataSource.query('SELECT * FROM changing WHERE id >= $1', [0]);
  await read();
  await database.query('ALTER TABLE changing ADD COLUMN name text');
  await read().catch(() => undefined);
  await expect(read()).resolves.toEqual([]);
  await dataSource.destroy();
});

it('a connection of the engine that ends as it is handed out does not end the process', async () => {
  const pool = new TasksPool(new EngineOptions({ database: { url: database.url } }));
  await expect(failOnCheckout(pool.durable)).resolves.toBeUndefined();
  await pool.onApplicationShutdown();
});

it('a connection that a worker listens on is probed after ten seconds of silence, and not after the two hours of the system', async () => {
  const setKeepAlive = vi.spyOn(Socket.prototype, 'setKeepAlive');
  const listener = new Listener(new EngineOptions({ database: { url: database.url } }), new TaskLogger());
  const connected = new Promise((resolve) => listener.once('connected', resolve));
  listener.start();
  await connected;
  expect(setKeepAlive).toHaveBeenCalledWith(true, 10_000);
  vi.restoreAllMocks();
  await listener.stop();
});
