import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { GoPeer } from '../lib/go-peer.ts';
import { assertExact, type Delivered } from '../lib/tally.ts';
import type { Bench, Work } from '../lib/work.ts';
import { type Made, PRODUCERS } from './distribute.ts';

/** asynq's own concurrency is the number of processors; ours is 15. */
const SLOTS = 15;

const IN_TRANSACTION = 'asynq, enqueued in the transaction, concurrency 15';
const CASES = [
  { dispatcher: 'ledger', peer: 'asynq', transaction: true, concurrency: SLOTS, aim: 0.8, anchor: IN_TRANSACTION },
  { dispatcher: 'ledger', peer: 'river', transaction: true, concurrency: SLOTS, aim: 1.2, anchor: 'River, InsertTx, 15 workers' },
  { dispatcher: 'Redis', peer: 'asynq', transaction: true, concurrency: SLOTS, aim: 0.5, anchor: IN_TRANSACTION },
  {
    dispatcher: 'Redis',
    peer: 'asynq',
    transaction: true,
    concurrency: 0,
    aim: 0.5,
    anchor: 'asynq, enqueued in the transaction, its usual concurrency',
  },
  {
    dispatcher: 'Redis',
    peer: 'asynq',
    transaction: false,
    concurrency: SLOTS,
    aim: 0.5,
    anchor: 'asynq without any database, concurrency 15',
  },
] as const;

/** From the first transaction to the last task done: ten producers and one worker, all at once. */
export const wholeWay: Work = {
  name: 'whole-way',
  async run(bench): Promise<Figure[]> {
    const figures: Figure[] = [];
    for (const dispatcher of ['ledger', 'Redis'] as const) figures.push(...(await runOn(dispatcher, bench)));
    return figures;
  },
};

async function runOn(dispatcher: 'ledger' | 'Redis', { stack, pairs, count, say }: Bench): Promise<Figure[]> {
  const database = await stack.createDatabase();
  await database.query('CREATE TABLE bench_order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number integer NOT NULL)');
  await stack.flush();
  const servers = { DATABASE_URL: database.url, REDIS_ADDRESS: stack.redisAddress };
  const environment = {
    ...productEnvironment,
    ...servers,
    ...(dispatcher === 'ledger' && { REDIS_ADDRESS: '' }),
    WORKER_CONCURRENCY: String(SLOTS),
  };
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
  const theirs = async (peer: GoPeer, transaction: boolean, concurrency: number) => {
    await database.query('TRUNCATE bench_order');
    const result = await peer.run({ count: total, producers: PRODUCERS, concurrency, transaction });
    assertExact('the peer', result, total);
    return total / result.seconds;
  };
  const figures: Figure[] = [];
  for (const { peer: program, transaction, concurrency, aim, anchor } of CASES.filter((each) => each.dispatcher === dispatcher)) {
    await using peer = await GoPeer.start(program, servers, say);
    if (!peer) continue;
    const measured = await alternate(pairs, ours, () => theirs(peer, transaction, concurrency));
    figures.push(
      figureOf(
        {
          work: 'whole-way',
          name: `a row and its task in a transaction → done, on ${dispatcher === 'ledger' ? 'the ledger' : 'Redis'}`,
          anchor,
          unit: 'tasks/s',
          aim: { kind: 'at least', bound: aim },
        },
        measured,
      ),
    );
  }
  return figures;
}
