import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { superuserUrl } from '../../scripts/stack/postgres.ts';

/** A test file's own database. */
export interface TestDatabase {
  url: string;
  query<Row>(sql: string, values?: unknown[]): Promise<Row[]>;
  drop(): Promise<void>;
}

/** Runs a statement, in the database of a URL of the embedded server, as its superuser: the apps' role cannot make roles. */
export async function asSuperuser(url: string, sql: string): Promise<void> {
  // Also in one that a test has made read-only.
  const client = new pg.Client({ connectionString: superuserUrl(url).href, options: '-c default_transaction_read_only=off' });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/**
 * Clones the migrated template: a database of one's own within a fraction of a second.
 *
 * @param options.empty makes one that nobody has migrated.
 */
export async function createDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const template = new URL(inject('postgresUrl'));
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  // Its server may be sweeping a database that is to be dropped, which only a superuser may end.
  const admin = superuserUrl(template.href);
  admin.pathname = '/postgres';
  const run = async (sql: string) => {
    const client = new pg.Client({ connectionString: admin.href });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  };
  await run(`CREATE DATABASE ${name} OWNER ${template.username} TEMPLATE ${options.empty ? 'template0' : template.pathname.slice(1)}`);
  const url = new URL(template);
  url.pathname = `/${name}`;
  const pool = new pg.Pool({ connectionString: url.href, max: 4 });
  pool.on('error', () => undefined);
  return {
    url: url.href,
    query: async <Row>(sql: string, values?: unknown[]) => (await pool.query(sql, values)).rows as Row[],
    drop: async () => {
      await pool.end();
      await run(`DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}
