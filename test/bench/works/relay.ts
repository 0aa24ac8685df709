import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { productQueue } from '../lib/jobs.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import type { Work } from '../lib/work.ts';

/** Pending rows into BullMQ, beside the same jobs added in batches of the same size. */
export const relay: Work = {
  name: 'relay',
  async run({ stack, pairs, count }, resources): Promise<Figure[]> {
    const total = count(20_000);
    const database = await stack.createDatabase();
    const environment = { ...productEnvironment, DATABASE_URL: database.url, REDIS_ADDRESS: stack.redisAddress };
    await using ours = await Contestant.start('relay', environment);
    await using bare = await Contestant.start('relay', environment);
    const queue = resources.adopt(productQueue(environment, 'default'), (queue) => queue.close());

    const measure = async (contestant: Contestant, method: 'relay' | 'addBulk') => {
      await stack.flush();
      await database.query('TRUNCATE task');
      if (method === 'relay') await insertRows(database, total, 'pending');
      const seconds = await contestant.ask<number>(method, { count: total });
      const waiting = await queue.getWaitingCount();
      if (waiting !== total) throw new Error(`${method}: ${total} tasks, ${waiting} are waiting`);
      return total / seconds;
    };
    const measured = await alternate(
      pairs,
      () => measure(ours, 'relay'),
      () => measure(bare, 'addBulk'),
    );
    return [
      figureOf(
        {
          work: 'relay',
          name: 'relay, one',
          anchor: 'addBulk of such jobs, 500 at a time',
          unit: 'tasks/s',
          aim: { kind: 'at least', bound: 0.8 },
        },
        measured,
      ),
    ];
  },
};
