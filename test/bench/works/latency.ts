import { setTimeout as wait } from 'node:timers/promises';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { round } from '../lib/report.ts';
import { quantile } from '../lib/statistics.ts';
import { assertExact, type Delivered } from '../lib/tally.ts';
import type { Bench, Work } from '../lib/work.ts';
import { type Made, PRODUCERS } from './distribute.ts';

/** Milliseconds between two tasks when nothing else happens. */
const IDLE_INTERVAL = 25;
const SLOTS = 15;

/** Percentiles of one run, in milliseconds. */
interface Latency {
  p50: number;
  p99: number;
}

/**
 * From the moment before the commit is sent until the handler starts, beside
 * the moment before `queue.add` is sent until a plain Worker starts.
 */
export const latency: Work = {
  name: 'latency',
  async run(bench): Promise<Figure[]> {
    const figures: Figure[] = [];
    for (const dispatcher of ['ledger', 'Redis'] as const) figures.push(...(await runOn(dispatcher, bench)));
    return figures;
  },
};

async function runOn(dispatcher: 'ledger' | 'Redis', { stack, pairs, count, say }: Bench): Promise<Figure[]> {
  const database = await stack.createDatabase();
  await stack.flush();
  const environment = {
    ...productEnvironment,
    DATABASE_URL: database.url,
    REDIS_ADDRESS: stack.redisAddress,
    WORKER_CONCURRENCY: String(SLOTS),
  };
  // Of the product no distributor talks to Redis: this one's is for the anchor.
  await using producer = await Contestant.start('distributor', environment);
  await using worker = await Contestant.start('engine', { ...environment, ...(dispatcher === 'ledger' && { REDIS_ADDRESS: '' }) });
  await using plain = await Contestant.start('plain-workers', {
    REDIS_ADDRESS: stack.redisAddress,
    BENCH_QUEUES: `default:${SLOTS}`,
  });

  const measure = async (receiver: Contestant, way: 'distribute' | 'add', total: number, interval: number): Promise<Latency> => {
    const delivered = receiver.ask<Delivered>('expect', { count: total });
    const at = await producer.ask<number[]>('pace', { way, count: total, interval });
    const result = await delivered;
    assertExact(`latency, ${way}`, result, total);
    const waits = result.startedAt.map((startedAt, number) => startedAt - at[number]!);
    return { p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) };
  };

  const halfLoad = await findHalfLoad(producer, worker, count(6_000));
  say(`half load of ${dispatcher}: ${round(1_000 / halfLoad)} tasks/s`);
  const figures: Figure[] = [];
  for (const { name, interval, total } of [
    { name: 'idle', interval: IDLE_INTERVAL, total: count(200) },
    { name: `at half load, ${round(1_000 / halfLoad)}/s`, interval: halfLoad, total: Math.ceil(count(5_000) / halfLoad) },
  ]) {
    const measured = await alternate(
      pairs,
      () => measure(worker, 'distribute', total, interval),
      () => measure(plain, 'add', total, interval),
    );
    const where = `on ${dispatcher === 'ledger' ? 'the ledger' : 'Redis'}`;
    const common = { work: 'latency', anchor: 'queue.add → a plain Worker starts', unit: 'ms', comparedUnit: 'ms' };
    figures.push(
      figureOf(
        {
          ...common,
          name: `commit → handler starts, ${where}, ${name}, p50`,
          compare: (ours, anchor) => ours - anchor,
          aim: { kind: 'at most', bound: dispatcher === 'ledger' ? 2 : 3 },
        },
        measured.map(([ours, anchor]) => [ours.p50, anchor.p50]),
      ),
      figureOf(
        {
          ...common,
          name: `commit → handler starts, ${where}, ${name}, p99`,
          compare: (ours) => ours,
          aim: { kind: 'at most', bound: 50 },
        },
        measured.map(([ours, anchor]) => [ours.p99, anchor.p99]),
      ),
    );
  }
  return figures;
}

/** @returns the interval, in milliseconds, at which tasks come half as fast as the whole way can take them. */
async function findHalfLoad(producer: Contestant, worker: Contestant, total: number): Promise<number> {
  let rate = 0;
  for (let turn = 0; turn < 2; turn++) {
    const delivered = worker.ask<Delivered>('expect', { count: total });
    const { startedAt } = await producer.ask<Made>('make', { way: 'inTransaction', count: total, producers: PRODUCERS });
    rate = total / (((await delivered).endedAt - startedAt) / 1_000);
    await wait(500);
  }
  return 2_000 / rate;
}
