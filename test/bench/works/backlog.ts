import type { Queue } from 'bullmq';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { type Figure, figureOf } from '../lib/figure.ts';
import { addAll, productJob, productQueue } from '../lib/jobs.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import type { Database } from '../lib/stack.ts';
import { assertExact } from '../lib/tally.ts';
import type { Bench, Work } from '../lib/work.ts';

const FEWEST = 1_000;
const CHUNK = 10_000;

/** An engine with a backlog of its own, in a database and under a key prefix of its own. */
interface Backlog {
  waiting: number;
  engine: Contestant;
  database: Database;
  queue: Queue;
  /** How many rows were ever written: the next one's number. */
  written: number;
}

/** What a contestant answers to `runSome`. */
export type SomeRun = { seconds: number; runs: number; unique: number; done: number };

/** What a task costs, ledger and all, while others wait: microseconds a task, beside the same with few waiting. */
export const backlog: Work = {
  name: 'backlog',
  async run(bench, resources): Promise<Figure[]> {
    const levels = [FEWEST, 100_000, ...(bench.full ? [1_000_000] : [])];
    if (!bench.full) bench.say('a million waiting tasks: only with --full');
    const taken = bench.count(6_000);
    const backlogs: Backlog[] = [];
    for (const level of levels) {
      const waiting = level === FEWEST ? level : bench.count(level);
      backlogs.push(await startBacklog(bench, resources, waiting));
    }
    const measure = async (own: Backlog): Promise<number> => {
      // As many as are taken come on top: those that wait all the time are what the level says.
      const waiting = await own.queue.getWaitingCount();
      await add(own, own.waiting + taken - waiting);
      const run = await own.engine.ask<SomeRun>('runSome', { count: taken });
      assertExact(`backlog of ${own.waiting}`, run, run.done);
      return (run.seconds / taken) * 1e6;
    };
    const rounds: number[][] = [];
    for (let round = 0; round <= bench.pairs; round++) {
      const costs: number[] = [];
      for (const own of backlogs) costs.push(await measure(own));
      // The first round warms up.
      if (round > 0) rounds.push(costs);
    }
    return backlogs.slice(1).map((own, index) =>
      figureOf(
        {
          work: 'backlog',
          name: `cost of a task with ${own.waiting.toLocaleString('en')} waiting`,
          anchor: `itself, with ${FEWEST.toLocaleString('en')} waiting`,
          unit: 'µs',
          aim: { kind: 'at most', bound: 1.1 },
        },
        rounds.map((costs) => [costs[index + 1]!, costs[0]!]),
      ),
    );
  },
};

async function startBacklog({ stack, say }: Bench, resources: AsyncDisposableStack, waiting: number): Promise<Backlog> {
  const database = await stack.createDatabase();
  const environment = {
    ...productEnvironment,
    DATABASE_URL: database.url,
    REDIS_ADDRESS: stack.redisAddress,
    REDIS_PREFIX: `backlog-${waiting}`,
    QUEUE_WEIGHTS: 'default=1',
  };
  const queue = resources.adopt(productQueue(environment, 'default'), (queue) => queue.close());
  await queue.pause();
  // What the reconciler leaves where it has been: else it asks for every task when it starts.
  await queue.getBackend().setQueueMeta({ waybill: Date.now() });
  const startedAt = Date.now();
  const own = { waiting, database, queue, written: 0 };
  await add(own, waiting);
  say(`${waiting.toLocaleString('en')} tasks wait (after ${Math.round((Date.now() - startedAt) / 1_000)} s)`);
  const engine = resources.use(await Contestant.start('engine', environment));
  return { ...own, engine };
}

/** Puts dispatched tasks into the ledger and into BullMQ, as they are once the relay has been there. */
async function add(own: Pick<Backlog, 'database' | 'queue' | 'written'>, count: number): Promise<void> {
  for (let done = 0; done < count; done += CHUNK) {
    const rows = await insertRows(own.database, Math.min(CHUNK, count - done), 'dispatched', own.written);
    own.written += rows.length;
    await addAll(
      own.queue,
      rows.map(({ id, number }) => {
        const job = productJob(number);
        return { ...job, data: { ...job.data, id }, opts: { ...job.opts, jobId: id } };
      }),
    );
  }
}
