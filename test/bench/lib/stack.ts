import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import pg from 'pg';
import { startPostgres, superuserUrl } from '../../../scripts/stack/postgres.ts';
import { startRedis } from '../../../scripts/stack/redis.ts';
import { ROOT } from '../../../scripts/stack/settings.ts';
import { endWithThisProcess } from '../../../scripts/stack/watchdog.ts';

/** The servers of a benchmark, on the loopback interface, and nobody else's. */
export interface Stack {
  /** `host:port`. */
  readonly redisAddress: string;
  /** A database of its own, with the product's tables. */
  createDatabase(): Promise<Database>;
  /** Empties Redis; between runs, while nobody works. */
  flush(): Promise<void>;
  /** Seconds of processor time that Redis has taken so far. */
  redisCpuSeconds(): Promise<number>;
}

export interface Database {
  readonly url: string;
  query<Row = Record<string, unknown>>(sql: string, values?: unknown[]): Promise<Row[]>;
}

/** A Postgres that keeps what it has said it keeps (fsync, synchronous_commit, full_page_writes), as it comes out of initdb. */
async function startDurablePostgres(resources: AsyncDisposableStack): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-bench-'));
  // The server's user must be able to enter it.
  chmodSync(folder, 0o755);
  resources.defer(() => rmSync(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'data');
  const server = await startPostgres({ port: 0, maxConnections: 300, dataDir });
  resources.defer(() => server.stop());
  const pid = Number.parseInt(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8'), 10);
  resources.defer(endWithThisProcess(pid, 'INT'));
  return server.url;
}

/** Starts the servers; the resources end them. */
export async function startStack(resources: AsyncDisposableStack): Promise<Stack> {
  const url = await startDurablePostgres(resources);
  const server = await startRedis((line) => process.stdout.write(`${line}\n`));
  if (!server) throw new Error('there is no Redis: install redis-server, or set REDIS_ADDRESS to one that may be emptied');
  if (process.env['REDIS_ADDRESS']) throw new Error('the benchmark empties its Redis: unset REDIS_ADDRESS, it starts one of its own');
  resources.defer(() => server.stop());
  const [host, port] = server.address.split(':');
  const redis = new Redis({ host: host!, port: Number(port), lazyConnect: false });
  resources.defer(() => redis.disconnect());

  await promisify(execFile)(process.execPath, ['dist/migrate.js'], {
    cwd: ROOT,
    env: { ...process.env, DATABASE_URL: url },
  });
  const admin = new pg.Pool({ connectionString: superuserUrl(url.replace(/\w+$/, 'postgres')).href, max: 1 });
  admin.on('error', () => undefined);
  resources.defer(() => admin.end());
  let databases = 0;

  const createDatabase = async (): Promise<Database> => {
    const name = `bench_${databases++}`;
    await admin.query(`CREATE DATABASE ${name} OWNER waybill TEMPLATE waybill`);
    const own = url.replace(/\w+$/, name);
    const pool = new pg.Pool({ connectionString: own, max: 4 });
    pool.on('error', () => undefined);
    resources.defer(() => pool.end());
    return { url: own, query: async <Row>(sql: string, values?: unknown[]) => (await pool.query(sql, values)).rows as Row[] };
  };
  const redisCpuSeconds = async () => {
    const info = await redis.info('cpu');
    return ['used_cpu_user', 'used_cpu_sys'].reduce((sum, name) => sum + Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]), 0);
  };
  return { redisAddress: server.address, createDatabase, flush: async () => void (await redis.flushall('SYNC')), redisCpuSeconds };
}
