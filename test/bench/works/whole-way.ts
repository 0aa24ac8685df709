import { Asynq } from '../lib/asynq.ts';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { assertExact, type Delivered } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import { type Made, PRODUCERS } from './distribute.ts';

/** asynq's own concurrency is the number of processors; ours is 15. */
const SLOTS = 15;

const CASES = [
  { transaction: true, concurrency: SLOTS, aim: 1, anchor: 'asynq, enqueued in the transaction, concurrency 15' },
  { transaction: true, concurrency: 0, aim: 1, anchor: 'asynq, enqueued in the transaction, its usual concurrency' },
  { transaction: false, concurrency: SLOTS, aim: 1, anchor: 'asynq without any database, concurrency 15' },
];

/** From the first transaction to the last task done: ten producers and one worker, all at once. */
export const wholeWay: Work = {
  name: 'whole-way',
  async run({ stack, pairs, count, say }): Promise<Figure[]> {
    const database = await stack.createDatabase();
    await database.query('CREATE TABLE bench_order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number integer NOT NULL)');
    await stack.flush();
    const environment = {
      ...productEnvironment,
      DATABASE_URL: database.url,
      REDIS_ADDRESS: stack.redisAddress,
      WORKER_CONCURRENCY: String(SLOTS),
    };
    await using asynq = await Asynq.start({ DATABASE_URL: database.url, REDIS_ADDRESS: stack.redisAddress }, say);
    if (!asynq) return [];
    await using producer = await Contestant.start('distributor', environment);
    await using worker = await Contestant.start('engine', environment);
    const total = count(10_000);

    const ours = async () => {
      await database.query('TRUNCATE bench_order');
      const delivered = worker.ask<Delivered>('expect', { count: total });
      const { startedAt } = await producer.ask<Made>('make', { way: 'withOrder', count: total, producers: PRODUCERS });
      const result = await delivered;
      assertExact('whole way', result, total);
      const [left] = await database.query<{ tasks: number; orders: number }>(
        'SELECT (SELECT count(*) FROM task)::int AS tasks, (SELECT count(*) FROM bench_order)::int AS orders',
      );
      if (left?.tasks !== 0 || left.orders !== total) throw new Error(`whole way: ${JSON.stringify(left)}`);
      return total / ((result.endedAt - startedAt) / 1_000);
    };
    const theirs = async (transaction: boolean, concurrency: number) => {
      await database.query('TRUNCATE bench_order');
      const result = await asynq.run({ count: total, producers: PRODUCERS, concurrency, transaction });
      assertExact('asynq', result, total);
      return total / result.seconds;
    };
    const figures: Figure[] = [];
    for (const { transaction, concurrency, aim, anchor } of CASES) {
      const measured = await alternate(pairs, ours, () => theirs(transaction, concurrency));
      figures.push(
        figureOf(
          {
            work: 'whole-way',
            name: 'a row and its task in a transaction → done',
            anchor,
            unit: 'tasks/s',
            aim: { kind: 'at least', bound: aim },
          },
          measured,
        ),
      );
    }
    return figures;
  },
};
