import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { footprintOf } from './app-process.ts';
import type { Violation } from './checker.ts';
import { Proxy } from './proxy.ts';
import type { Random } from './random.ts';
import type { Context, Result, Scenario } from './run.ts';
import { RedisServer } from './servers.ts';
import { type Dispatcher, LOG_DIR, System } from './system.ts';

/** Orders in one transaction, and how many may be on their way at once. */
const BATCH = 50;
const BACKLOG = 4_000;
/** How long the tasks of the short version are spread over. Milliseconds. */
const SHORT_DURATION = 12_000;
/** BullMQ remembers a completed job for a minute. */
const MEMORY_OF_JOBS = 65_000;
/** What is left when the work is done: failed jobs that BullMQ keeps for operators, and a few keys for each queue. */
const KEYS_LEFT = 1_500;
/** A process that has served a fifth of the work has its working size; it may grow by this much and no more. */
const GROWTH = { files: 15, memory: 1.5, slack: 64 * 1024 * 1024 };

/** Many tasks, and a fault every few seconds; afterwards nothing is lost, and nothing has grown. */
export function soak(context: Context): Scenario[] {
  const size = context.size.soak;
  const dispatchers = context.short ? context.dispatchers.slice(0, 1) : context.dispatchers;
  return dispatchers.map((dispatcher) => {
    const name = `${size} tasks (${dispatcher})`;
    return { name, run: () => runSoak(name, size, dispatcher, context) };
  });
}

async function runSoak(name: string, size: number, dispatcher: Dispatcher, context: Context): Promise<Result> {
  const random = context.random.fork(name);
  await using resources = new AsyncDisposableStack();
  const redis = dispatcher === 'redis' ? await RedisServer.start() : undefined;
  if (redis) resources.defer(() => redis.stop());
  const proxy = redis && (await Proxy.start(redis.address));
  if (proxy) resources.defer(() => proxy.stop());
  const system = await System.open({
    name: `soak ${dispatcher}`,
    work: 'orders',
    workers: 3,
    dispatcher,
    postgres: context.postgres,
    redis,
    ...(proxy && { redisAddress: `127.0.0.1:${proxy.port}` }),
    environment: { LOG_LEVEL: 'warn', EFFECT_PAUSE: '5' },
  });
  resources.defer(() => system.dispose());
  await system.start();
  const startedAt = Date.now();

  let placed = 0;
  let over = false;
  const pauses: [number, number] = context.short ? [500, 2_000] : [1_500, 5_000];
  const faults = haveFaults(system, { redis, proxy }, random, pauses, () => over);
  let early: ReturnType<typeof footprints> | undefined;
  while (placed < size) {
    const [row] = await system.query<{ count: string }>('SELECT count(*) FROM task').catch(() => []);
    if (row === undefined || Number(row.count) > BACKLOG) {
      await sleep(100);
      continue;
    }
    const ids = Array.from({ length: Math.min(BATCH, size - placed) }, () => randomUUID());
    placed += await system.placeOrders(ids, random.next() < 0.9 ? 'transaction' : 'keyed', random.next() < 0.02);
    if (placed > size / 5) early ??= footprints(system);
    // So that the few tasks of the short version last for some faults.
    if (context.short) await sleep((SHORT_DURATION * BATCH) / size);
  }
  over = true;
  const struck = await faults;
  const rest = await system.rest();
  const violations: Violation[] = [...rest.violations];
  const took = Date.now() - startedAt;

  if (!context.short) {
    await sleep(MEMORY_OF_JOBS);
    // BullMQ forgets a queue's old jobs when newer ones end, at most a thousand each time; each mode has a queue of its own.
    for (let i = 0; i < 300; i++) await system.placeOrders([randomUUID()], i % 2 === 0 ? 'transaction' : 'keyed', false);
    violations.push(...(await system.rest()).violations);
    const keys = redis ? await redis.admin.dbsize() : 0;
    if (keys > KEYS_LEFT) violations.push({ kind: 'growth', about: 'the dispatcher', detail: `${keys} keys are left` });
  }
  const late = footprints(system);
  violations.push(...growthOf(early, late), ...leaksLogged(system));
  violations.push(...(await system.close()));
  const facts = {
    tasks: placed,
    faults: struck,
    'tasks/s': Math.round(placed / (took / 1_000)),
    'MB of worker-1': `${megabytes(early?.['worker-1'])} → ${megabytes(late['worker-1'])}`,
    'files of worker-1': `${early?.['worker-1']?.files ?? '?'} → ${late['worker-1']?.files ?? '?'}`,
  };
  return { name, violations, recovery: rest.recovery, facts };
}

/** A fault every few seconds. The first worker lives through all of them: it is the one that could grow. @returns how many. */
async function haveFaults(
  system: System,
  { redis, proxy }: { redis: RedisServer | undefined; proxy: Proxy | undefined },
  random: Random,
  pauses: [number, number],
  isOver: () => boolean,
): Promise<number> {
  const mortals = system.workers.slice(1);
  const kinds: Record<string, () => Promise<unknown>> = {
    'a worker killed': async () => {
      const app = random.pick(mortals);
      app.signal('SIGKILL');
      await app.ended;
      await sleep(500);
      await app.start();
    },
    'a worker ended and started': async () => {
      const app = random.pick(mortals);
      app.signal('SIGTERM');
      await app.ended;
      await app.start();
    },
    'a worker stopped': async () => {
      const app = random.pick(mortals);
      app.signal('SIGSTOP');
      await sleep(random.pick([1_000, 3_000, 17_000]));
      app.signal('SIGCONT');
    },
    'database connections ended': () =>
      system.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname = current_database() AND application_name <> 'fault-test'`,
      ),
    ...(redis && { FLUSHALL: () => redis.admin.flushall() }),
    ...(proxy && {
      'Redis gone': async () => {
        proxy.cut();
        await sleep(random.between(500, 8_000));
        proxy.restore();
      },
      'Redis half open': () => Promise.resolve(proxy.swallow()),
    }),
  };
  let count = 0;
  while (!isOver()) {
    await sleep(random.between(...pauses));
    if (isOver()) break;
    const what = random.pick(Object.keys(kinds));
    const end = system.fault(what);
    await kinds[what]!();
    end();
    count++;
  }
  return count;
}

type Footprint = ReturnType<typeof footprintOf>;

function footprints(system: System): Record<string, Footprint> {
  return Object.fromEntries([system.front, system.workers[0]!].map((app) => [app.name, footprintOf(app.pid)]));
}

function growthOf(early: Record<string, Footprint> | undefined, late: Record<string, Footprint>): Violation[] {
  return Object.entries(late).flatMap(([name, now]): Violation[] => {
    const before = early?.[name];
    if (!before || !now) return [];
    const violations: Violation[] = [];
    if (now.files > before.files + GROWTH.files)
      violations.push({ kind: 'growth', about: name, detail: `open files ${before.files} → ${now.files}` });
    if (now.rss > before.rss * GROWTH.memory + GROWTH.slack)
      violations.push({ kind: 'growth', about: name, detail: `MB ${megabytes(before)} → ${megabytes(now)}` });
    return violations;
  });
}

/** Node says so itself when listeners pile up. */
function leaksLogged(system: System): Violation[] {
  return system.processes.flatMap((app): Violation[] => {
    const log = readFileSync(join(LOG_DIR, system.folder, `${app.name}.log`), 'utf8');
    return log.includes('MaxListenersExceededWarning')
      ? [{ kind: 'growth', about: app.name, detail: 'listeners pile up; see its log' }]
      : [];
  });
}

const megabytes = (footprint: Footprint) => (footprint ? Math.round(footprint.rss / 2 ** 20) : '?');
