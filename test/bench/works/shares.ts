import { Queue } from 'bullmq';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { addAll, plainJob, productJob, productQueue, range } from '../lib/jobs.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import { round } from '../lib/report.ts';
import type { Database } from '../lib/stack.ts';
import { median } from '../lib/statistics.ts';
import { assertExact } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import type { Run } from './engine.ts';

/** The share of the first queue, by the weights 10 and 5. */
const SHARE = 2 / 3;
const SLOTS = 15;

/** How well the first starts kept to the share. */
interface Fairness {
  share: number;
  /** The most starts by which any beginning of the order was off its share. */
  deviation: number;
}

/** Two queues that both have work all the time, beside two plain Workers with as many slots between them. */
export const shares: Work = {
  name: 'shares',
  async run({ stack, pairs, count }, resources): Promise<Figure[]> {
    const total = count(30_000);
    const first = Math.round(total * SHARE);
    const judged = judgedOf(total);
    const database = await stack.createDatabase();
    const environment = {
      ...productEnvironment,
      DATABASE_URL: database.url,
      REDIS_ADDRESS: stack.redisAddress,
      QUEUE_WEIGHTS: 'critical=10,default=5',
      WORKER_CONCURRENCY: String(SLOTS),
    };
    await using ours = await Contestant.start('engine', { ...environment, BENCH_LEDGER: 'none' });
    await using plain = await Contestant.start('plain-workers', {
      REDIS_ADDRESS: stack.redisAddress,
      BENCH_QUEUES: 'critical:10,default:5',
    });
    const [host, port] = stack.redisAddress.split(':');
    const connection = { host: host!, port: Number(port) };
    const names = ['critical', 'default'] as const;
    const ourQueues = names.map((name) => resources.adopt(productQueue(environment, name), (queue) => queue.close()));
    const plainQueues = names.map((name) => resources.adopt(new Queue(name, { connection }), (queue) => queue.close()));

    const measure = async (contestant: Contestant, queues: Queue[], job: (number: number) => { name: string; data: unknown }) => {
      await stack.flush();
      await contestant.ask('pause');
      const numbers = range(total);
      await addAll(queues[0]!, numbers.slice(0, first).map(job));
      await addAll(queues[1]!, numbers.slice(first).map(job));
      const run = await contestant.ask<Run>('run', { count: total });
      assertExact('shares', run, total);
      return { rate: total / run.seconds, ...fairnessOf(run.order.slice(0, judged + 3 * SLOTS)) };
    };
    const measured = await alternate(
      pairs,
      () => measure(ours, ourQueues, productJob),
      () => measure(plain, plainQueues, plainJob),
    );
    const [mine, theirs] = [measured.map(([mine]) => mine), measured.map(([, theirs]) => theirs)];
    const worst = Math.max(...mine.map(({ deviation }) => deviation));
    return [
      figureOf(
        {
          work: 'shares',
          name: 'two contended queues, weights 10 and 5, 15 slots',
          anchor: 'two plain Workers, concurrency 10 and 5',
          unit: 'tasks/s',
          aim: { kind: 'at least', bound: 1 },
          note:
            `over the first ${judged} starts: share of the first queue ${shareOf(mine)} (plain ${shareOf(theirs)}, wanted ${SHARE.toFixed(4)}); ` +
            `no beginning of the order off by more than ${round(worst)} starts (plain ${round(median(theirs.map(({ deviation }) => deviation)))})`,
        },
        measured.map(([mine, theirs]) => [mine.rate, theirs.rate]),
      ),
      figureOf(
        {
          work: 'shares',
          name: 'largest prefix deviation from the exact share',
          anchor: 'two plain Workers, concurrency 10 and 5',
          unit: 'starts',
          comparedUnit: 'starts',
          compare: (ours) => ours,
          aim: { kind: 'at most', bound: 5 },
        },
        measured.map(([mine, theirs]) => [mine.deviation, theirs.deviation]),
      ),
    ];
  },
};

/** The same without Redis, ledger and all, beside an engine that has all of it in one queue. */
export const sharesOnPostgres: Work = {
  name: 'shares-on-postgres',
  async run({ stack, pairs, count }): Promise<Figure[]> {
    const total = count(20_000);
    const first = Math.round(total * SHARE);
    const judged = judgedOf(total);
    const start = async (weights: string) => {
      const database = await stack.createDatabase();
      const environment = { DATABASE_URL: database.url, QUEUE_WEIGHTS: weights, WORKER_CONCURRENCY: String(SLOTS) };
      return { database, engine: await Contestant.start('engine', { ...productEnvironment, ...environment }) };
    };
    const two = await start('critical=10,default=5');
    await using twoQueues = two.engine;
    const one = await start('default=1');
    await using oneQueue = one.engine;
    const measure = async (engine: Contestant, database: Database, firstQueue: string) => {
      await engine.ask('pause');
      await insertRows(database, first, 'pending', 0, firstQueue);
      await insertRows(database, total - first, 'pending', first, 'default');
      const run = await engine.ask<Run>('run', { count: total });
      assertExact('shares on Postgres', run, total);
      return { rate: total / run.seconds, order: run.order };
    };
    const measured = await alternate(
      pairs,
      () => measure(twoQueues, two.database, 'critical'),
      () => measure(oneQueue, one.database, 'default'),
    );
    const fairness = measured.map(([{ order }]) => fairnessOf(order.slice(0, judged + 3 * SLOTS)));
    return [
      figureOf(
        {
          work: 'shares-on-postgres',
          name: 'two contended queues on the ledger, weights 10 and 5, 15 slots',
          anchor: 'the same in one queue',
          unit: 'tasks/s',
          aim: { kind: 'at least', bound: 0.9 },
        },
        measured.map(([two, one]) => [two.rate, one.rate]),
      ),
      figureOf(
        {
          work: 'shares-on-postgres',
          name: 'largest prefix deviation, queues in Postgres',
          anchor: 'the exact share',
          unit: 'starts',
          comparedUnit: 'starts',
          compare: (ours) => ours,
          aim: { kind: 'at most', bound: 5 },
          note: `over the first ${judged} starts: share of the first queue ${shareOf(fairness)}, wanted ${SHARE.toFixed(4)}`,
        },
        fairness.map(({ deviation }) => [deviation, 0]),
      ),
    ];
  },
};

/** As long as both queues still have something: towards the end the one that is ahead runs out. */
const judgedOf = (total: number): number => Math.min(10_000, Math.floor(total / 2));

const shareOf = (runs: readonly Fairness[]): string => median(runs.map(({ share }) => share)).toFixed(4);

/** Of the starts since both queues had something and every slot has turned over: who started before did not know of both. */
function fairnessOf(starts: readonly number[]): Fairness {
  const order = starts.slice(Math.max(starts.indexOf(0), starts.indexOf(1)) + 2 * SLOTS);
  let fromFirst = 0;
  let deviation = 0;
  for (const [index, isFirst] of order.entries()) {
    fromFirst += isFirst;
    deviation = Math.max(deviation, Math.abs(fromFirst - (index + 1) * SHARE));
  }
  return { share: fromFirst / order.length, deviation };
}
