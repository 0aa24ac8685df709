import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Violation } from './checker.ts';
import type { Context, Result, Scenario } from './run.ts';
import { type Dispatcher, System } from './system.ts';

/** How many workers a task may take down before it is buried. */
const MOST_WORKERS = 5;
/** What runs beside it: some longer than a lease, some that end at once. */
const INNOCENTS = { long: 6, transaction: 12, keyed: 12 } as const;
/** A death is found after a lease, and what was claimed then runs again, the long ones one after the other. Milliseconds. */
const RECOVERY = 240_000;
const RESTART_PAUSE = 500;

/** Tasks that take their process down, or keep it from giving any sign of life: nobody beside them is to suffer. */
export function poison(context: Context): Scenario[] {
  const blockFor = context.short ? 20_000 : 60_000;
  return context.dispatchers.flatMap((dispatcher) => [
    // Alone it takes its own time to be found, five times: three minutes.
    ...(context.short ? [3] : [1, 3]).map((workers): Scenario => {
      const name = `one task that exits its process among 30 others, ${workers} ${workers === 1 ? 'worker' : 'workers'}, ${dispatcher}`;
      return { name, run: () => runPoison(name, workers, dispatcher, context) };
    }),
    {
      name: `an event loop blocked for ${blockFor / 1_000} s beside a second worker, ${dispatcher}`,
      run: () =>
        runBlocked(`an event loop blocked for ${blockFor / 1_000} s beside a second worker, ${dispatcher}`, blockFor, dispatcher, context),
    },
  ]);
}

async function runPoison(name: string, workers: number, dispatcher: Dispatcher, context: Context): Promise<Result> {
  await using system = await open(name, workers, dispatcher, context);
  await system.start();
  const deaths = { count: 0 };
  const end = new AbortController();
  const supervised = system.workers.map(async (app) => {
    while (!end.signal.aborted) {
      app.expectExit();
      const how = await Promise.race([app.ended, sleep(100, undefined)]);
      if (how === undefined || end.signal.aborted) continue;
      deaths.count++;
      await sleep(RESTART_PAUSE);
      await app.start();
    }
  });
  const worst = { crashes: 0 };
  const poisoned = randomUUID();
  const half = (mode: keyof typeof INNOCENTS) =>
    system.placeOrders(
      Array.from({ length: INNOCENTS[mode] / 2 }, () => randomUUID()),
      mode,
      false,
    );
  const all = async () => {
    for (const mode of ['long', 'transaction', 'keyed'] as const) await half(mode);
  };
  await all();
  await system.placeOrders([poisoned], 'poison', false);
  await all();
  const watched = (async () => {
    while (!end.signal.aborted) {
      const [row] = await system
        .query<{ crashes: number }>(`SELECT COALESCE(max(crashes), 0)::int AS crashes FROM task WHERE type <> 'faults.poison'`)
        .catch(() => []);
      worst.crashes = Math.max(worst.crashes, row?.crashes ?? 0);
      await sleep(100);
    }
  })();
  const rest = await system.rest({ recovery: RECOVERY, burials: true });
  end.abort();
  await Promise.all([...supervised, watched]);
  const { ledger } = await system.state();
  const violations: Violation[] = [...rest.violations];
  const dead = ledger.filter(({ state }) => state === 'dead');
  for (const { id, type, reason } of dead.filter((row) => row.subject !== poisoned)) {
    violations.push({ kind: 'buried', about: id, detail: `an innocent of the type ${type}: ${reason ?? ''}` });
  }
  const verdict = dead.find((row) => row.subject === poisoned)?.reason;
  if (verdict !== 'crashed its worker')
    violations.push({ kind: 'missed', about: poisoned, detail: `the poison was not buried for it: ${verdict}` });
  if (deaths.count > MOST_WORKERS) violations.push({ kind: 'crash', about: poisoned, detail: `it took ${deaths.count} workers` });
  if (worst.crashes > 1) violations.push({ kind: 'crash', about: name, detail: `an innocent has ${worst.crashes} crashes` });
  violations.push(...(await system.close()));
  return { name, violations, recovery: rest.recovery, facts: { 'workers taken': deaths.count, 'crashes of an innocent': worst.crashes } };
}

async function runBlocked(name: string, blockFor: number, dispatcher: Dispatcher, context: Context): Promise<Result> {
  await using system = await open(name, 2, dispatcher, context, { BLOCK_FOR: String(blockFor) });
  await system.start();
  const blocking = randomUUID();
  await system.placeOrders([blocking], 'blocking', false);
  await system.load(
    (count) => count >= 60,
    2,
    () => blockFor / 30,
  );
  const rest = await system.rest({ recovery: blockFor + 30_000 });
  const violations: Violation[] = [...rest.violations];
  const starts = Map.groupBy(system.history.of('started'), ({ task }) => task);
  for (const [task, { length }] of starts) {
    if (length > 1) violations.push({ kind: 'crash', about: task, detail: `begun ${length} times, and no process had ended` });
  }
  violations.push(...(await system.close()));
  return { name, violations, recovery: rest.recovery, facts: { tasks: starts.size } };
}

function open(
  name: string,
  workers: number,
  dispatcher: Dispatcher,
  { postgres, redis }: Context,
  environment: Record<string, string> = {},
): Promise<System> {
  return System.open({ name: `poison ${name}`, work: 'orders', workers, dispatcher, postgres, redis, environment });
}
