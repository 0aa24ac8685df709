import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import { assertExact } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import type { Run } from './engine.ts';

const SLOTS = 15;

const PEERS = [
  {
    process: 'pg-boss',
    anchor: 'pg-boss, 15 workers, batches of 100, no pause',
    options: { batchSize: 100 },
    aim: { kind: 'at least', bound: 1 } as const,
  },
  { process: 'pg-boss', anchor: 'pg-boss, 15 workers, one at a time, polling as often as it allows', options: { batchSize: 1 } },
  { process: 'graphile-worker', anchor: 'graphile-worker, concurrency 15', options: {} },
];

/** Without Redis: pending rows → done, beside what else keeps its queue in Postgres. */
export const postgresDispatcher: Work = {
  name: 'postgres',
  async run({ stack, pairs, count }): Promise<Figure[]> {
    const database = await stack.createDatabase();
    const environment = {
      ...productEnvironment,
      DATABASE_URL: database.url,
      QUEUE_WEIGHTS: 'default=1',
      WORKER_CONCURRENCY: String(SLOTS),
    };
    await using ours = await Contestant.start('engine', environment);
    const total = count(3_000);
    const measure = async () => {
      await ours.ask('pause');
      await insertRows(database, total, 'pending');
      const run = await ours.ask<Run>('run', { count: total });
      assertExact('Postgres dispatcher', run, total);
      return total / run.seconds;
    };
    const figures: Figure[] = [];
    for (const { process, anchor, options, aim } of PEERS) {
      const own = await stack.createDatabase();
      await using peer = await Contestant.start(process, { DATABASE_URL: own.url });
      // At one job a poll there is a job every half a second and worker: as many as that takes seconds for.
      const peerTotal = options.batchSize === 1 ? Math.min(total, 150) : total;
      const measured = await alternate(
        pairs,
        measure,
        async () => peerTotal / (await peer.ask<number>('run', { count: peerTotal, slots: SLOTS, ...options })),
      );
      figures.push(figureOf({ work: 'postgres', name: 'tasks on Postgres alone, 15 slots', anchor, unit: 'tasks/s', aim }, measured));
    }
    return figures;
  },
};
