import type { Config } from '@app/config';
import { createDataSource } from './data-source.js';

/** Any number; every process that migrates takes the same advisory lock. */
const MIGRATION_LOCK = 7_309_453_012;

/**
 * Brings the schema up to date; safe to run from several processes at once.
 *
 * @returns the names of the migrations that were run.
 */
export async function migrate(config: Config): Promise<string[]> {
  const dataSource = await createDataSource(config, [], 'waybill-migrate').initialize();
  try {
    const runner = dataSource.createQueryRunner();
    try {
      await runner.query('SET statement_timeout = 0');
      await runner.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
      const done = await dataSource.runMigrations({ transaction: 'each' });
      return done.map((migration) => migration.name);
    } finally {
      await runner.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]).catch(() => undefined);
      await runner.release();
    }
  } finally {
    await dataSource.destroy();
  }
}
