import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { startPostgres } from '../../scripts/stack/postgres.ts';
import { startRedis } from '../../scripts/stack/redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A Postgres whose `waybill` database is migrated and is cloned for each test file. */
    postgresUrl: string;
    /** The file of that Postgres's log. */
    postgresLog: string;
    /** host:port; empty when this machine has no Redis. */
    redisAddress: string;
  }
}

/**
 * Starts the services that all test files share; each file has its own database and
 * key prefix in them. `TEST_POSTGRES_PROGRAMS`, the folder of another Postgres's
 * programs, has the tests run on that one.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const programs = process.env['TEST_POSTGRES_PROGRAMS'];
  const postgres = await startPostgres({ port: 0, maxConnections: 300, temporary: true, programs });
  const redis = await startRedis();
  if (!redis && process.env['CI'] === 'true') {
    await postgres.stop();
    throw new Error('there is no Redis on this machine, and CI must not leave half of the tests out');
  }
  await promisify(execFile)(process.execPath, ['dist/migrate.js'], { env: { ...process.env, DATABASE_URL: postgres.url } });
  project.provide('postgresUrl', postgres.url);
  project.provide('postgresLog', postgres.log);
  project.provide('redisAddress', redis?.address ?? '');
  return async () => {
    await redis?.stop();
    await postgres.stop();
    if (!redis) process.stdout.write('\nNOT RUN: everything on Redis. There is no redis-server on this machine.\n');
  };
}
