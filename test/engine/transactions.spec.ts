import { Config } from '@app/config';
import { createDataSource } from '@app/database';
import { DataSource, type EntityManager } from 'typeorm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
/** With one connection, so that every transaction has the same. */
let dataSource: DataSource;
beforeEach(async () => {
  database = await createDatabase();
  await database.query('CREATE TABLE thing (name text UNIQUE)');
  dataSource = await createDataSource(Config.parse({ DATABASE_URL: database.url, DATABASE_POOL_SIZE: '1' }), [], 'test').initialize();
  // From now on the connection has the beginning prepared.
  await dataSource.transaction((manager) => add(manager, 'first'));
});
afterEach(async () => {
  await dataSource.destroy();
  await database.drop();
});

const add = (manager: EntityManager, name: string) => manager.query('INSERT INTO thing VALUES ($1)', [name]);
const names = async () => (await database.query<{ name: string }>('SELECT name FROM thing ORDER BY name')).map(({ name }) => name);
class Changed extends Error {}
/** Runs a transaction that is rolled back. */
const rollBack = (work: (manager: EntityManager) => Promise<unknown>) =>
  expect(
    dataSource.transaction(async (manager) => {
      await work(manager);
      throw new Changed();
    }),
  ).rejects.toThrow(Changed);
const transactionOf = async (manager: EntityManager) => {
  const [row] = await manager.query<[{ id: string }]>('SELECT pg_current_xact_id()::text AS id WHERE $1 = 1', [1]);
  return row.id;
};

it('keeps all of a transaction, or nothing', async () => {
  await dataSource.transaction(async (manager) => {
    await add(manager, 'kept');
    expect(await transactionOf(manager)).toBe(await transactionOf(manager));
    await add(manager, 'kept too');
  });
  await rollBack((manager) => add(manager, 'lost'));
  await rollBack((manager) => Promise.all([add(manager, 'a'), add(manager, 'b')]));
  await rollBack((manager) => manager.query(`INSERT INTO thing VALUES ('without parameters')`));
  await rollBack((manager) => manager.transaction((inner) => add(inner, 'in a savepoint')));
  await dataSource.transaction(() => Promise.resolve());
  await dataSource.transaction('SERIALIZABLE', async (manager) => {
    expect(await manager.query('SHOW transaction_isolation')).toEqual([{ transaction_isolation: 'serializable' }]);
  });
  expect(await transactionOf(dataSource.manager)).not.toBe(await transactionOf(dataSource.manager));
  expect(await names()).toEqual(['first', 'kept', 'kept too']);
});

it('keeps nothing on a connection that is new, on which a transaction begins by itself', async () => {
  await dataSource.destroy();
  await dataSource.initialize();
  await rollBack((manager) => Promise.all([add(manager, 'a'), add(manager, 'b'), manager.query(`INSERT INTO thing VALUES ('c')`)]));
  expect(await names()).toEqual(['first']);
});

it('goes on after a first statement that has failed', async () => {
  for (let turn = 0; turn < 2; turn++) {
    await expect(dataSource.transaction((manager) => add(manager, 'first'))).rejects.toThrow('duplicate key');
    await expect(dataSource.transaction((manager) => manager.query('SELECT $1::int / 0', [1]))).rejects.toThrow('division by zero');
    await expect(dataSource.transaction((manager) => manager.query('SELECT nonsense($1)', [1]))).rejects.toThrow('does not exist');
  }
  await dataSource.transaction((manager) => add(manager, 'second'));
  expect(await names()).toEqual(['first', 'second']);
});

it('keeps nothing of a transaction that could not begin, whatever comes after its first statement', async () => {
  await dataSource.query('DEALLOCATE waybill_begin');
  await expect(
    dataSource.transaction(async (manager) => {
      await add(manager, 'alone').catch(() => undefined);
      await add(manager, 'alone too');
    }),
  ).rejects.toThrow('Client was closed');
  expect(await names()).toEqual(['first']);
  // On a connection that is new.
  await dataSource.transaction((manager) => add(manager, 'second'));
  expect(await names()).toEqual(['first', 'second']);
});
