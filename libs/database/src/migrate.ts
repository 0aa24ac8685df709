import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '@app/config';
import { Client, isLockTimeout, type Limits } from '@app/postgres';
import { scrub } from '@app/redaction';
import type pg from 'pg';
import { DataSource, type Migration, MigrationExecutor, type QueryRunner } from 'typeorm';
import { CONNECT_TIMEOUT, dataSourceOptions } from './data-source.js';
import { MIGRATION_TABLE, type Migrations } from './pending-migrations.js';

/** Any number; every process that migrates takes the same advisory lock. */
const MIGRATION_LOCK = 7_309_453_012;
/** Milliseconds. */
const LOCK_INTERVAL = 250;
/** How long a migration in a transaction waits for a lock, and how long others then go first. Milliseconds. */
const LOCK_TIMEOUT = 2_000;
const LOCK_PAUSE = 1_000;

/** Every limit of a session that could end a migration, or the wait for one; some of them only newer servers have. */
const LIMITS = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'];

/** A migration could not be run; nothing of it is kept, unless it says that it runs outside of a transaction. The message is one line that names it. */
export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed';
}

/** How {@link migrate} goes about it. */
export interface MigrateOptions {
  /** Is told, a line at a time, what is going on. */
  readonly say?: (line: string) => void;
  /** How long a migration waits for a lock at a time, while whoever wants the same table waits behind it. Milliseconds. */
  readonly lockTimeout?: number;
}

/**
 * Brings the schema up to date, on one connection, which has no limits: a
 * migration may take hours. It waits for the lock of a table for 2 s at a time,
 * and begins anew until it has it. Several processes may migrate at once: one
 * does it, and the others wait for it.
 *
 * @returns the names of the migrations that were run.
 * @throws MigrationFailed
 */
export async function migrate(
  config: Config,
  migrations: Migrations,
  { say = () => undefined, lockTimeout = LOCK_TIMEOUT }: MigrateOptions = {},
): Promise<string[]> {
  const dataSource = await new DataSource({
    ...dataSourceOptions(config, 'waybill-migrate'),
    migrations: [...migrations],
    migrationsTableName: MIGRATION_TABLE,
    poolSize: 1,
    // Nothing of what an app's statements are bound by; nor are they prepared, since the tables change under them.
    extra: { keepAlive: true, Client, connectLimit: CONNECT_TIMEOUT } satisfies pg.PoolConfig & Limits,
  }).initialize();
  const runner = dataSource.createQueryRunner();
  try {
    await runner.query(`SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY($1)`, [LIMITS]);
    await lock(runner, say);
    return await runPending(new MigrationExecutor(dataSource, runner), runner, say, lockTimeout);
  } finally {
    // The lock goes with the connection.
    await runner.release();
    await dataSource.destroy();
  }
}

/** Asks again and again, rather than to wait in one statement: that would hold up a `CREATE INDEX CONCURRENTLY` for ever. */
async function lock(runner: QueryRunner, say: (line: string) => void): Promise<void> {
  for (let waited = false; ; waited = true) {
    const [{ taken }] = (await runner.query('SELECT pg_try_advisory_lock($1) AS taken', [MIGRATION_LOCK])) as [{ taken: boolean }];
    if (taken) return;
    if (!waited) say('Another process is migrating this database: waiting for it.');
    await wait(LOCK_INTERVAL);
  }
}

/** Runs what is pending, each in a transaction of its own, unless it says `transaction = false`. */
async function runPending(
  executor: MigrationExecutor,
  runner: QueryRunner,
  say: (line: string) => void,
  lockTimeout: number,
): Promise<string[]> {
  const done: string[] = [];
  for (const migration of await executor.getPendingMigrations()) {
    const { name, instance } = migration;
    say(`Migrating: ${name}`);
    const begin = performance.now();
    const isAtomic = instance?.transaction !== false;
    try {
      if (isAtomic) await inTransaction(executor, runner, migration, say, lockTimeout);
      else await executor.executeMigration(migration);
    } catch (error) {
      throw failed(name, error, isAtomic);
    }
    say(`Migrated: ${name}, in ${((performance.now() - begin) / 1_000).toFixed(1)} s`);
    done.push(name);
  }
  return done;
}

/**
 * Every statement on a table waits behind one that waits to change it, so that a
 * dump or a long transaction would stop the apps: a migration that does not get
 * its lock soon is taken back, lets the others go first, and begins anew.
 */
async function inTransaction(
  executor: MigrationExecutor,
  runner: QueryRunner,
  migration: Migration,
  say: (line: string) => void,
  lockTimeout: number,
): Promise<void> {
  for (let waited = false; ; waited = true) {
    try {
      await runner.startTransaction();
      await runner.query(`SET LOCAL lock_timeout = ${lockTimeout}`);
      await executor.executeMigration(migration);
      return await runner.commitTransaction();
    } catch (error) {
      // One that cannot be taken back either has lost its connection, and with it everything.
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      if (!isLockTimeout(error)) throw error;
    }
    if (!waited) say(`Waiting for a lock: ${migration.name} begins anew until no other transaction holds the table.`);
    await wait(LOCK_PAUSE);
  }
}

function failed(name: string, error: unknown, isAtomic = true): MigrationFailed {
  const kept = isAtomic ? 'nothing of it was kept' : 'what it had done outside of a transaction was kept';
  return new MigrationFailed(`The migration ${name} failed, and ${kept}: ${scrub((error as Error).message)}`, { cause: error });
}
