import { Client } from 'pg';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import { assertExact } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import type { Run } from './engine.ts';

/** What a task costs beside a snapshot that somebody holds, as a dump does, so that no dead row can be cleared away. */
export const snapshot: Work = {
  name: 'snapshot',
  async run({ stack, pairs, count }, resources): Promise<Figure[]> {
    const database = await stack.createDatabase();
    await using engine = await Contestant.start('engine', {
      ...productEnvironment,
      DATABASE_URL: database.url,
      QUEUE_WEIGHTS: 'default=1',
      WORKER_CONCURRENCY: '15',
    });
    const holder = new Client({ connectionString: database.url });
    await holder.connect();
    resources.defer(() => holder.end());
    const total = count(200_000);
    const measure = async (isHeld: boolean) => {
      await engine.ask('pause');
      // What the last run has left would cost this one.
      await database.query('VACUUM ANALYZE task');
      await insertRows(database, total, 'pending');
      if (isHeld) {
        await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        await holder.query('SELECT FROM task LIMIT 1');
      }
      const run = await engine.ask<Run>('run', { count: total });
      if (isHeld) await holder.query('ROLLBACK');
      assertExact('beside a snapshot', run, total);
      return (run.seconds / total) * 1e6;
    };
    const measured = await alternate(
      pairs,
      () => measure(true),
      () => measure(false),
    );
    return [
      figureOf(
        {
          work: 'snapshot',
          name: `cost of a task, ${total.toLocaleString('en')} beside a snapshot that is held`,
          anchor: 'itself, without',
          unit: 'µs',
          aim: { kind: 'at most', bound: 1.2 },
        },
        measured,
      ),
    ];
  },
};
