import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Allowances, Violation } from './checker.ts';
import { factsOf, refusals } from './kill-matrix.ts';
import type { MailMood } from './mail-server.ts';
import { Proxy } from './proxy.ts';
import type { Context, Result, Scenario } from './run.ts';
import { PostgresServer, RedisServer } from './servers.ts';
import { type Dispatcher, System, type Work } from './system.ts';

/** What a scenario may break, because it is its own. */
interface Surroundings {
  readonly system: System;
  readonly postgres: PostgresServer;
  readonly redis: RedisServer | undefined;
  /** Between the workers and Redis, and between the workers and Postgres. */
  readonly redisProxy: Proxy | undefined;
  readonly databaseProxy: Proxy;
}

interface Outage {
  readonly name: string;
  readonly dispatchers: readonly Dispatcher[];
  readonly work: Work;
  readonly workers?: number;
  /** How long there is load before it strikes. Milliseconds. */
  readonly before?: number;
  readonly inShort?: readonly Dispatcher[];
  /** A server of its own that the scenario takes down. */
  readonly owns?: 'redis' | 'postgres';
  readonly maxConnections?: number;
  /** Whoever signs up must not notice. */
  readonly unnoticed: boolean;
  readonly allowances?: Partial<Allowances>;
  readonly strike: (surroundings: Surroundings) => Promise<void>;
}

const BOTH: readonly Dispatcher[] = ['redis', 'postgres'];
const REDIS: readonly Dispatcher[] = ['redis'];
const seconds = (count: number) => sleep(count * 1_000);

/** Redis cannot be reached for a while, and has kept everything. */
const redisGone = (duration: number): Outage => ({
  name: `Redis gone ${duration} s`,
  dispatchers: REDIS,
  work: 'sign-ups',
  ...(duration === 8 && { inShort: REDIS }),
  unnoticed: true,
  strike: async ({ redisProxy }) => {
    redisProxy!.cut();
    await seconds(duration);
    redisProxy!.restore();
  },
});

/** Redis is killed, and comes back empty. */
const redisKilled = (duration: number): Outage => ({
  name: `Redis killed, back empty after ${duration} s`,
  dispatchers: REDIS,
  work: 'sign-ups',
  ...(duration === 3 && { inShort: REDIS }),
  owns: 'redis',
  unnoticed: true,
  strike: async ({ redis }) => {
    await redis!.kill();
    await seconds(duration);
    await redis!.launch();
  },
});

const smtp = (mood: MailMood, duration: number, what: string): Outage => ({
  name: `SMTP ${what}, ${duration} s`,
  dispatchers: BOTH,
  work: 'sign-ups',
  ...((mood === 'hanging' || mood === 'dropping') && { inShort: REDIS }),
  unnoticed: true,
  allowances: { burials: mood === 'rejecting' },
  strike: async ({ system }) => {
    system.mail.mood = mood;
    await seconds(duration);
    system.mail.mood = 'well';
  },
});

/** Postgres stands still for longer than a lease, and goes on with what was sent to it before then. */
const standingStill = (workers: number): Outage => ({
  name: `Postgres stands still for 25 s, ${workers} ${workers === 1 ? 'worker' : 'workers'}`,
  dispatchers: BOTH,
  work: 'sign-ups',
  workers,
  // Nobody is removed before one process has been the elected one for a lease.
  before: 20_000,
  ...(workers === 1 && { inShort: ['postgres' as const] }),
  owns: 'postgres',
  unnoticed: false,
  strike: ({ postgres }) => postgres.standStill(25_000),
});

const OUTAGES: readonly Outage[] = [
  smtp('refusing', 8, 'refusing for now'),
  smtp('rejecting', 8, 'refusing for good'),
  smtp('hanging', 12, 'hanging'),
  smtp('dropping', 5, 'accepting, then dropping'),
  ...[3, 8, 15, 60].map(redisGone),
  ...[3, 15].map(redisKilled),
  {
    name: 'FLUSHALL',
    dispatchers: REDIS,
    work: 'orders',
    inShort: REDIS,
    owns: 'redis',
    unnoticed: true,
    strike: async ({ redis }) => {
      for (let i = 0; i < 3; i++) {
        await redis!.admin.flushall();
        await sleep(700);
      }
    },
  },
  {
    name: 'Redis out of memory, 10 s',
    dispatchers: REDIS,
    work: 'sign-ups',
    inShort: REDIS,
    owns: 'redis',
    unnoticed: true,
    strike: async ({ redis }) => {
      await redis!.admin.config('SET', 'maxmemory', '1mb');
      await seconds(10);
      await redis!.admin.config('SET', 'maxmemory', '0');
    },
  },
  {
    name: 'Postgres restarted, away 3 s',
    dispatchers: BOTH,
    work: 'sign-ups',
    inShort: REDIS,
    owns: 'postgres',
    unnoticed: false,
    strike: ({ postgres }) => postgres.restart(3_000),
  },
  {
    name: 'Postgres restarted, away 20 s',
    dispatchers: BOTH,
    work: 'sign-ups',
    owns: 'postgres',
    unnoticed: false,
    strike: ({ postgres }) => postgres.restart(20_000),
  },
  ...[1, 2].map(standingStill),
  {
    name: 'Postgres backends terminated in a stream, 8 s',
    dispatchers: BOTH,
    work: 'orders',
    inShort: ['postgres'],
    unnoticed: false,
    strike: async ({ system }) => {
      for (const until = Date.now() + 8_000; Date.now() < until; await sleep(250)) {
        await system.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname = current_database() AND application_name <> 'fault-test'`,
        );
      }
    },
  },
  {
    name: 'Postgres connections exhausted, 10 s',
    dispatchers: BOTH,
    work: 'orders',
    owns: 'postgres',
    maxConnections: 60,
    unnoticed: false,
    strike: ({ postgres, system }) => exhaustConnections(postgres, system, 10_000),
  },
  {
    name: 'half-open under the blocking reads',
    dispatchers: REDIS,
    work: 'sign-ups',
    inShort: REDIS,
    unnoticed: true,
    strike: async ({ redisProxy }) => {
      redisProxy!.swallow();
    },
  },
  {
    name: 'half-open under LISTEN and the pools',
    dispatchers: BOTH,
    work: 'sign-ups',
    inShort: BOTH,
    unnoticed: true,
    strike: async ({ databaseProxy }) => {
      databaseProxy.swallow();
    },
  },
];

export function outages(context: Context): Scenario[] {
  return OUTAGES.flatMap((outage) =>
    (context.short ? (outage.inShort ?? []) : outage.dispatchers)
      .filter((dispatcher) => outage.dispatchers.includes(dispatcher) && context.dispatchers.includes(dispatcher))
      .map((dispatcher) => {
        const name = `${outage.name} (${dispatcher})`;
        return { name, run: () => runOutage(name, outage, dispatcher, context) };
      }),
  );
}

async function runOutage(name: string, outage: Outage, dispatcher: Dispatcher, context: Context): Promise<Result> {
  await using resources = new AsyncDisposableStack();
  const postgres = outage.owns === 'postgres' ? await PostgresServer.start(outage.maxConnections ?? 100) : context.postgres;
  if (postgres !== context.postgres) resources.defer(() => postgres.stop());
  const redis = dispatcher !== 'redis' ? undefined : outage.owns === 'redis' ? await RedisServer.start() : context.redis;
  if (redis && redis !== context.redis) resources.defer(() => redis.stop());
  const redisProxy = redis && (await Proxy.start(redis.address));
  if (redisProxy) resources.defer(() => redisProxy.stop());
  const databaseProxy = await Proxy.start(new URL(postgres.url).host);
  resources.defer(() => databaseProxy.stop());
  const system = await System.open({
    name: `outage ${name}`,
    work: outage.work,
    workers: outage.workers ?? 2,
    dispatcher,
    postgres,
    redis,
    ...(redisProxy && { redisAddress: `127.0.0.1:${redisProxy.port}` }),
    workersDatabasePort: databaseProxy.port,
    // Small pools, so that what is meant to exhaust the server does not have to open hundreds of connections.
    environment: { DATABASE_POOL_SIZE: '5' },
  });
  resources.defer(() => system.dispose());
  await system.start();

  let over = false;
  const load = system.load(
    () => over,
    2,
    () => (outage.work === 'orders' ? 40 : 400),
  );
  await sleep(outage.before ?? 1_500);
  const workers = await registered(system);
  const end = system.fault(outage.name);
  await outage.strike({ system, postgres, redis, redisProxy, databaseProxy });
  end();
  await sleep(2_000);
  over = true;
  await load;
  const rest = await system.rest(outage.allowances);
  const violations: Violation[] = [...rest.violations];
  if (outage.unnoticed) violations.push(...refusals(system));
  if ((await registered(system)) !== workers)
    violations.push({ kind: 'crash', about: name, detail: 'a worker that was well was taken for dead' });
  violations.push(...(await system.close()));
  return { name, violations, recovery: rest.recovery, facts: factsOf(system) };
}

/** The workers that the ledger knows of: one that was taken for dead is another from then on. */
async function registered(system: System): Promise<string> {
  const [row] = await system.query<{ ids: string }>(`SELECT string_agg(id::text, ',' ORDER BY id) AS ids FROM task_worker`);
  return row!.ids;
}

/** Takes every connection that the server has, also those that the apps had, for `duration` milliseconds. */
async function exhaustConnections(postgres: PostgresServer, system: System, duration: number): Promise<void> {
  const held: pg.Client[] = [];
  for (const until = Date.now() + duration; Date.now() < until;) {
    const client = new pg.Client({ connectionString: postgres.url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      held.push(client);
    } catch {
      // Full: what the apps hold becomes free, and is ours as likely as theirs.
      await held[0]?.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname = $1 AND application_name <> 'fault-test'`,
        [new URL(system.databaseUrl).pathname.slice(1)],
      );
    }
  }
  await Promise.all(held.map((client) => client.end().catch(() => undefined)));
}
