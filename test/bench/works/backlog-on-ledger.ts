import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { type Figure, figureOf } from '../lib/figure.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import type { Database } from '../lib/stack.ts';
import { assertExact } from '../lib/tally.ts';
import type { Bench, Work } from '../lib/work.ts';
import type { SomeRun } from './backlog.ts';

const FEWEST = 1_000;
const CHUNK = 50_000;
/** Longer than any run. Seconds. */
const LATER = 86_400;

/** An engine that has so many tasks besides those which it runs, in a database of its own. */
interface Backlog {
  readonly name: string;
  readonly waiting: number;
  readonly engine: Contestant;
  readonly database: Database;
  /** How many rows were ever written: the next one's number. */
  written: number;
}

/** What a task costs on the ledger while others wait, or are not due yet: microseconds a task, beside the same with few waiting. */
export const backlogOnLedger: Work = {
  name: 'backlog-on-ledger',
  async run(bench, resources): Promise<Figure[]> {
    const many = bench.count(bench.full ? 1_000_000 : 100_000);
    if (!bench.full) bench.say('a million tasks on the ledger: only with --full');
    const taken = bench.count(20_000);
    const few = await startBacklog(bench, resources, { name: 'waiting', waiting: FEWEST, delayed: 0 });
    const larger = [
      await startBacklog(bench, resources, { name: 'waiting', waiting: many, delayed: 0 }),
      await startBacklog(bench, resources, { name: 'delayed', waiting: FEWEST, delayed: many }),
    ];
    const measure = async (own: Backlog): Promise<number> => {
      const [found] = await own.database.query<{ waiting: number }>(`SELECT count(*)::int AS waiting FROM task WHERE run_at <= now()`);
      await write(own, own.waiting + taken - found!.waiting, 0);
      const run = await own.engine.ask<SomeRun>('runSome', { count: taken });
      assertExact(`${own.name} on the ledger`, run, run.done);
      return (run.seconds / run.done) * 1e6;
    };
    const rounds: number[][] = [];
    for (let round = 0; round <= bench.pairs; round++) {
      const costs: number[] = [];
      for (const own of [few, ...larger]) costs.push(await measure(own));
      // The first round warms up.
      if (round > 0) rounds.push(costs);
    }
    return larger.map((own, index) =>
      figureOf(
        {
          work: 'backlog-on-ledger',
          name: `cost of a task on the ledger with ${many.toLocaleString('en')} ${own.name}`,
          anchor: `itself, with ${FEWEST.toLocaleString('en')} waiting`,
          unit: 'µs',
          aim: { kind: 'at most', bound: 1.1 },
        },
        rounds.map((costs) => [costs[index + 1]!, costs[0]!]),
      ),
    );
  },
};

async function startBacklog(
  { stack, say }: Bench,
  resources: AsyncDisposableStack,
  { name, waiting, delayed }: { name: string; waiting: number; delayed: number },
): Promise<Backlog> {
  const database = await stack.createDatabase();
  const engine = resources.use(
    await Contestant.start('engine', {
      ...productEnvironment,
      DATABASE_URL: database.url,
      QUEUE_WEIGHTS: 'default=1',
      WORKER_CONCURRENCY: '15',
    }),
  );
  await engine.ask('pause');
  const own: Backlog = { name, waiting, engine, database, written: 0 };
  const startedAt = Date.now();
  await write(own, delayed, LATER);
  await write(own, waiting, 0);
  await database.query('VACUUM ANALYZE task');
  say(`${(waiting + delayed).toLocaleString('en')} tasks are on the ledger (after ${Math.round((Date.now() - startedAt) / 1_000)} s)`);
  return own;
}

async function write(own: Backlog, count: number, delay: number): Promise<void> {
  for (let done = 0; done < count; done += CHUNK) {
    const rows = await insertRows(own.database, Math.min(CHUNK, count - done), 'pending', own.written, 'default', delay);
    own.written += rows.length;
  }
}
