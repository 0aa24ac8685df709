import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { type Aim, alternate, type Figure, figureOf } from '../lib/figure.ts';
import { GoPeer } from '../lib/go-peer.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import { assertExact } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import type { Run } from './engine.ts';

const SLOTS = 15;

/** Peers that are processes of Node. */
const PEERS = [
  {
    process: 'pg-boss',
    anchor: 'pg-boss, 15 workers, batches of 100, no pause',
    options: { batchSize: 100 },
    aim: { kind: 'at least', bound: 1 } as const,
  },
  { process: 'pg-boss', anchor: 'pg-boss, 15 workers, one at a time, polling as often as it allows', options: { batchSize: 1 } },
  { process: 'graphile-worker', anchor: 'graphile-worker, concurrency 15', options: {} },
  {
    process: 'graphile-worker',
    anchor: 'graphile-worker in batches: local queue of 500, completions and failures without delay',
    options: { batched: true },
    aim: { kind: 'at least', bound: 1 } as const,
  },
];

/** Without Redis: pending rows → done, beside what else keeps its queue in Postgres. */
export const postgresDispatcher: Work = {
  name: 'postgres',
  async run({ stack, pairs, count, say }): Promise<Figure[]> {
    const database = await stack.createDatabase();
    const environment = {
      ...productEnvironment,
      DATABASE_URL: database.url,
      QUEUE_WEIGHTS: 'default=1',
      WORKER_CONCURRENCY: String(SLOTS),
    };
    await using ours = await Contestant.start('engine', environment);
    const total = count(20_000);
    const measure = async () => {
      await ours.ask('pause');
      await insertRows(database, total, 'pending');
      const run = await ours.ask<Run>('run', { count: total });
      assertExact('the ledger', run, total);
      return total / run.seconds;
    };
    const figures: Figure[] = [];
    const compare = async (anchor: string, theirs: () => Promise<number>, aim?: Aim) => {
      const measured = await alternate(pairs, measure, theirs);
      figures.push(figureOf({ work: 'postgres', name: 'tasks on the ledger alone, 15 slots', anchor, unit: 'tasks/s', aim }, measured));
    };
    for (const { process, anchor, options, aim } of PEERS) {
      const own = await stack.createDatabase();
      await using peer = await Contestant.start(process, { DATABASE_URL: own.url });
      // At one job a poll there is a job every half a second and worker: as many as that takes seconds for.
      const peerTotal = options.batchSize === 1 ? Math.min(total, 150) : total;
      const theirs = async () => peerTotal / (await peer.ask<number>('run', { count: peerTotal, slots: SLOTS, ...options }));
      await compare(anchor, theirs, aim);
    }
    const own = await stack.createDatabase();
    await using river = await GoPeer.start('river', { DATABASE_URL: own.url }, say);
    if (river) {
      const theirs = async () => {
        const result = await river.run({ count: total, producers: 0, concurrency: SLOTS, transaction: false });
        assertExact('River', result, total);
        return total / result.seconds;
      };
      await compare('River, 15 workers, fetching every 5 ms', theirs, { kind: 'at least', bound: 5 });
    }
    return figures;
  },
};
