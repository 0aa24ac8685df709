import { migrations } from './migrations/index.js';

/** Where TypeORM notes which migrations have been run. */
export const MIGRATION_TABLE = 'migration_history';

/** A connection or a pool of `pg`. */
interface Connection {
  query(sql: string): Promise<{ rows: { readonly [column: string]: unknown }[] }>;
}

/**
 * The names of the migrations that this release needs and the database has not
 * had yet. A database that has had more, those of a newer release, lacks nothing.
 */
export async function pendingMigrations(connection: Connection): Promise<string[]> {
  const { rows } = await connection.query(`SELECT to_regclass('${MIGRATION_TABLE}') IS NOT NULL AS "exists"`);
  const executed = rows[0]?.['exists'] === true ? (await connection.query(`SELECT name FROM ${MIGRATION_TABLE}`)).rows : [];
  const names = new Set(executed.map(({ name }) => name));
  return migrations.map(({ name }) => name).filter((name) => !names.has(name));
}
