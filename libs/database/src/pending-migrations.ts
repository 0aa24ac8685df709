import type { MigrationInterface } from 'typeorm';

/** Where TypeORM notes which migrations have been run. */
export const MIGRATION_TABLE = 'migration_history';

/** The migrations of a release, in the order in which they run. */
export type Migrations = readonly (new () => MigrationInterface)[];

/** A connection or a pool of `pg`. */
interface Connection {
  query(sql: string): Promise<{ rows: { readonly [column: string]: unknown }[] }>;
}

/**
 * The names of the given migrations, those of this release, that the database has not
 * had yet. A database that has had more, those of a newer release, lacks nothing.
 */
export async function pendingMigrations(connection: Connection, migrations: Migrations): Promise<string[]> {
  const { rows } = await connection.query(`SELECT to_regclass('${MIGRATION_TABLE}') IS NOT NULL AS "exists"`);
  const executed = rows[0]?.['exists'] === true ? (await connection.query(`SELECT name FROM ${MIGRATION_TABLE}`)).rows : [];
  const names = new Set(executed.map(({ name }) => name));
  return migrations.map(({ name }) => name).filter((name) => !names.has(name));
}
