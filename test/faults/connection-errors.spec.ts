import { once } from 'node:events';
import { type AddressInfo, createServer, Socket } from 'node:net';
import { Config } from '@app/config';
import { createDataSource } from '@app/database';
import { Client, isCutShort, isDatabaseUnavailable, Pool, PoolClient } from '@app/postgres';
import pg from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { dataSourceOptions } from '../../libs/database/src/data-source.js';
import { Listener } from '../../libs/tasks/src/ledger/listener.js';
import { EngineOptions } from '../../libs/tasks/src/options.js';
import { TasksPool } from '../../libs/tasks/src/ledger/tasks-pool.js';
import { TaskLogger } from '../../libs/tasks/src/task-logger.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
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
    extra: { ...options.extra, answerLimit: 300 },
  } as DataSourceOptions).initialize();
  await dataSource.query('SELECT 1');
  proxy.swallow();
  await expect(dataSource.transaction((manager) => manager.query('SELECT 1'))).rejects.toThrow('Query read timeout');
  await expect(dataSource.query('SELECT 1 AS one')).resolves.toEqual([{ one: 1 }]);
  await dataSource.destroy();
  await proxy.stop();
});

/** Stops the whole process for a while, as a handler does that computes. */
const standStill = (milliseconds: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
const LIMIT = 600;
const LONGER = 1_300;

describe.each([
  ['a connection', Client],
  ['one of a pool', PoolClient],
])('%s does not hold it against the server that the process stood still', (_, Kind) => {
  let client: pg.Client;
  const open = (port = new URL(database.url).port) => {
    const url = new URL(database.url);
    url.port = port;
    client = new Kind({ connectionString: url.href, connectLimit: LIMIT, answerLimit: LIMIT });
  };
  afterEach(() => client.end());
  const sleep = (seconds: number) => client.query('SELECT pg_sleep($1)', [seconds]);

  it('when it was opened', async () => {
    open();
    const connected = client.connect();
    standStill(LONGER);
    await connected;
    await expect(client.query('SELECT 1 AS one')).resolves.toMatchObject({ rows: [{ one: 1 }] });
  });

  it('when a query was under way, with a short answer or one that no buffer holds', async () => {
    open();
    await client.connect();
    for (const length of [1, 8_000_000]) {
      const answer = client.query<{ text: string }>(`SELECT repeat('x', ${length}) AS text`);
      standStill(LONGER);
      expect((await answer).rows[0]?.text).toHaveLength(length);
    }
  });

  it('nor for a transaction, and what waits behind it on the connection', async () => {
    open();
    await client.connect();
    for (let round = 0; round < 2; round++) {
      const answers = [client.query('START TRANSACTION'), sleep(0.1), sleep(0.1), client.query('COMMIT')];
      standStill(LONGER);
      await expect(Promise.all(answers)).resolves.toHaveLength(4);
    }
  });

  it('and gives each query its own time, and a connection at rest all that it wants', async () => {
    open();
    await client.connect();
    await expect(Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => sleep(0.1)))).resolves.toHaveLength(8);
    await database.query('SELECT pg_sleep($1)', [LONGER / 1_000]);
    await expect(sleep(0)).resolves.toBeDefined();
  });

  it('but gives up a server that does not answer, and all that waits for it there', async () => {
    const proxy = await Proxy.start(new URL(database.url).host);
    open(String(proxy.port));
    await client.connect();
    const [first, ...others] = [1, 2, 3].map(() => client.query('SELECT 1'));
    // The second is on its way by then.
    await first;
    proxy.swallow();
    standStill(LONGER);
    const failures = (await Promise.allSettled(others)).map((settled) => (settled as PromiseRejectedResult).reason as Error);
    expect(failures.map(({ message }) => message)).toEqual(['Query read timeout', 'Query read timeout']);
    await expect(client.query('SELECT 1')).rejects.toSatisfy(isDatabaseUnavailable);
    await proxy.stop();
  });

  it('nor waits for one that does not let it in', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    open(String((silent.address() as AddressInfo).port));
    await expect(client.connect()).rejects.toSatisfy(isDatabaseUnavailable);
    silent.close();
  });
});

describe('a pool', () => {
  let pool: pg.Pool;
  beforeEach(() => {
    pool = new Pool({ connectionString: database.url, max: 1, connectLimit: LIMIT });
  });
  afterEach(() => pool.end());

  it('does not hold it against its connections that the process stood still', async () => {
    const held = await pool.connect();
    const waiting = [pool.query('SELECT 1'), pool.query('SELECT 2')];
    const released = held.query('SELECT pg_sleep(0.1)').then(() => held.release());
    standStill(LONGER);
    await released;
    await expect(Promise.all(waiting)).resolves.toHaveLength(2);
  });

  it('lets nobody wait for longer than its limit, and forgets them', async () => {
    const held = await pool.connect();
    const failures = await Promise.all([1, 2].map(() => pool.query('SELECT 1').catch((error: unknown) => error)));
    expect(failures).toEqual([expect.any(Error), expect.any(Error)]);
    expect(failures.every(isDatabaseUnavailable)).toBe(true);
    expect(pool.waitingCount).toBe(0);
    held.release();
    await expect(pool.query('SELECT 1 AS one')).resolves.toMatchObject({ rows: [{ one: 1 }] });
    expect([pool.totalCount, pool.idleCount]).toEqual([1, 1]);
  });

  it('gives a connection that came too late to the next one', async () => {
    const onConnect = () => database.query('SELECT pg_sleep($1)', [LONGER / 1_000]);
    pool = new Pool({ connectionString: database.url, max: 1, connectLimit: LIMIT, onConnect });
    await expect(pool.query('SELECT 1')).rejects.toSatisfy(isDatabaseUnavailable);
    await eventually(() => pool.idleCount === 1);
    await expect(pool.query('SELECT 1 AS one')).resolves.toMatchObject({ rows: [{ one: 1 }] });
    expect(pool.totalCount).toBe(1);
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
  expect(long.options).toMatchObject({ extra: { answerLimit: 22_000 } });
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
