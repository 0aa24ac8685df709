import { Config } from '@app/config';
import { migrate, MigrationFailed } from '@app/database';
import pg from 'pg';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { asSuperuser, createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { migrations as released } from '../support/migrations.js';

/** A migration of a test's own, in place of a later one of ours. */
function later(up: (runner: QueryRunner) => Promise<unknown>, options: { transaction?: false } = {}) {
  class Later9900000000000 {
    readonly transaction = options.transaction;
    async up(runner: QueryRunner): Promise<void> {
      await up(runner);
    }
    async down(): Promise<void> {
      // Never.
    }
  }
  return Later9900000000000;
}

/** Those of the release, to which a test adds one. */
let migrations: (new () => MigrationInterface)[];
let database: TestDatabase;
let config: Config;
beforeEach(async () => {
  migrations = [...released];
  database = await createDatabase();
  // One connection, and a limit that every statement of these tests would meet.
  config = Config.parse({ DATABASE_URL: database.url, DATABASE_POOL_SIZE: '1', DATABASE_STATEMENT_TIMEOUT: '100ms' });
});
afterEach(async () => {
  await database.drop();
});

const history = async () =>
  (await database.query<{ name: string }>('SELECT name FROM migration_history ORDER BY id')).map(({ name }) => name);

it('a migration has no limits: neither those of the apps nor those of the role', async () => {
  const name = new URL(database.url).pathname.slice(1);
  for (const limit of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) {
    await database.query(`ALTER DATABASE ${name} SET ${limit} = '100ms'`);
  }
  migrations.push(
    later(async (runner) => {
      await runner.query('SELECT pg_sleep(0.3)');
      await new Promise((resolve) => setTimeout(resolve, 300));
      await runner.query('CREATE TABLE made_slowly ()');
    }),
  );
  const said: string[] = [];
  expect(await migrate(config, migrations, { say: (line) => said.push(line) })).toEqual(['Later9900000000000']);
  expect(said).toEqual(['Migrating: Later9900000000000', expect.stringMatching(/^Migrated: Later9900000000000, in 0\.\d s$/)]);
});

it('several processes at once: one migrates, the others wait for it, in their own words', async () => {
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let times = 0;
  migrations.push(
    // Outside of a transaction, it would wait for ever for a process that waits within a statement.
    later(
      async (runner) => {
        times += 1;
        begun.resolve();
        await go.promise;
        await runner.query('CREATE INDEX CONCURRENTLY later ON users (created_at)');
      },
      { transaction: false },
    ),
  );
  const said: string[] = [];
  const first = migrate(config, migrations);
  await begun.promise;
  const others = [1, 2].map(() => migrate(config, migrations, { say: (line) => said.push(line) }));
  await eventually(() => said.length === 2);
  expect(said).toEqual(Array(2).fill('Another process is migrating this database: waiting for it.'));
  go.resolve();
  expect(await Promise.all([first, ...others])).toEqual([['Later9900000000000'], [], []]);
  expect(times).toBe(1);
});

it('one that fails is named, leaves nothing behind, and is run by the next attempt', async () => {
  let breaks = true;
  migrations.push(
    later(async (runner) => {
      await runner.query('CREATE TABLE half_done ()');
      if (breaks) await runner.query('SELECT 1 / 0');
    }),
  );
  const failure = await migrate(config, migrations).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(MigrationFailed);
  expect((failure as Error).message).toBe('The migration Later9900000000000 failed, and nothing of it was kept: division by zero');
  expect(await history()).toHaveLength(released.length);
  expect(await database.query(`SELECT to_regclass('half_done') AS "table"`)).toEqual([{ table: null }]);
  breaks = false;
  expect(await migrate(config, migrations)).toEqual(['Later9900000000000']);
  expect(await history()).toHaveLength(released.length + 1);
});

it('a migration that waits for a lock lets the others go first, and begins anew until it has it', async () => {
  let times = 0;
  migrations.push(
    later(async (runner) => {
      times += 1;
      await runner.query('ALTER TABLE users ADD COLUMN later text');
    }),
  );
  // A dump, or a transaction that takes its time.
  const dump = new pg.Client({ connectionString: database.url });
  await dump.connect();
  await dump.query('BEGIN; LOCK TABLE users IN ACCESS SHARE MODE');
  const said: string[] = [];
  const migrated = migrate(config, migrations, { say: (line) => said.push(line), lockTimeout: 50 });
  await eventually(() => said.includes('Waiting for a lock: Later9900000000000 begins anew until no other transaction holds the table.'));
  await database.query('SELECT count(*) FROM users');
  await eventually(() => times >= 3);
  await dump.query('COMMIT');
  await dump.end();
  expect(await migrated).toEqual(['Later9900000000000']);
  expect(said.filter((line) => line.startsWith('Waiting'))).toHaveLength(1);
});

it('the index of the ledger is built beside the traffic, and anew where an attempt was cut off', async () => {
  const index = 'IndexKeptTasks1764000000021';
  await database.query(`DELETE FROM migration_history WHERE name = $1`, [index]);
  await asSuperuser(database.url, `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'task_kept'::regclass`);
  // Whoever writes to the ledger meanwhile.
  const writer = new pg.Client({ connectionString: database.url });
  await writer.connect();
  await writer.query('BEGIN; LOCK TABLE task IN ROW EXCLUSIVE MODE');
  const migrated = migrate(config, migrations);
  await eventually(
    async () =>
      (await database.query(`SELECT FROM pg_stat_activity WHERE query LIKE '% INDEX CONCURRENTLY %' AND wait_event_type = 'Lock'`)).length >
      0,
  );
  await database.query(`INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 't', 'q', '{}', '{}')`);
  await writer.query('COMMIT');
  await writer.end();
  expect(await migrated).toEqual([index]);
  expect(await database.query(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'task_kept'::regclass`)).toEqual([{ indisvalid: true }]);
});
