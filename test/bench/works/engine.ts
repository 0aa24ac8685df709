import { Queue } from 'bullmq';
import { cpuSecondsOf } from '../lib/app.ts';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { addAll, plainJob, productJob, productQueue, range } from '../lib/jobs.ts';
import { round } from '../lib/report.ts';
import { median } from '../lib/statistics.ts';
import { assertExact } from '../lib/tally.ts';
import type { Bench, Work } from '../lib/work.ts';

/** What a contestant answers to `run`. */
export interface Run {
  seconds: number;
  runs: number;
  unique: number;
  order: number[];
}

/** The slots, the tasks of a run (some two seconds' worth), and the aim. */
const CASES = [
  { slots: 1, count: 6_000, aim: 1.0 },
  { slots: 15, count: 20_000, aim: 1.4 },
  { slots: 50, count: 30_000, aim: 1.0 },
];

/** The processor without the ledger's part, beside a plain Worker. */
export const engine: Work = {
  name: 'engine',
  async run(bench, resources) {
    const database = await bench.stack.createDatabase();
    const figures: Figure[] = [];
    for (const { slots, count, aim } of CASES) figures.push(await runCase(bench, resources, database.url, slots, bench.count(count), aim));
    return figures;
  },
};

async function runCase(
  { stack, pairs }: Bench,
  resources: AsyncDisposableStack,
  databaseUrl: string,
  slots: number,
  count: number,
  aim: number,
): Promise<Figure> {
  const environment = {
    ...productEnvironment,
    DATABASE_URL: databaseUrl,
    REDIS_ADDRESS: stack.redisAddress,
    QUEUE_WEIGHTS: 'default=1',
    WORKER_CONCURRENCY: String(slots),
  };
  await using ours = await Contestant.start('engine', { ...environment, BENCH_LEDGER: 'none' });
  await using plain = await Contestant.start('plain-workers', { REDIS_ADDRESS: stack.redisAddress, BENCH_QUEUES: `default:${slots}` });
  const ourQueue = resources.adopt(productQueue(environment, 'default'), (queue) => queue.close());
  const [host, port] = stack.redisAddress.split(':');
  const plainQueue = resources.adopt(new Queue('default', { connection: { host: host!, port: Number(port) } }), (queue) => queue.close());

  const measure = async (contestant: Contestant, queue: Queue, job: (number: number) => { name: string; data: unknown }) => {
    await stack.flush();
    await contestant.ask('pause');
    await addAll(queue, range(count).map(job));
    const before = [cpuSecondsOf(contestant.pid), await stack.redisCpuSeconds()] as const;
    const run = await contestant.ask<Run>('run', { count });
    assertExact(`engine, ${slots} slots`, run, count);
    return {
      rate: count / run.seconds,
      cpu: ((cpuSecondsOf(contestant.pid) - before[0]) / count) * 1e6,
      redis: (((await stack.redisCpuSeconds()) - before[1]) / count) * 1e6,
    };
  };
  const measured = await alternate(
    pairs,
    () => measure(ours, ourQueue, productJob),
    () => measure(plain, plainQueue, plainJob),
  );
  return figureOf(
    {
      work: 'engine',
      name: `no-op tasks, one queue, ${slots} ${slots === 1 ? 'slot' : 'slots'}`,
      anchor: `plain BullMQ Worker, concurrency ${slots}`,
      unit: 'tasks/s',
      aim: { kind: 'at least', bound: aim },
      note: `processor time a task: ${timesOf(measured.map(([ours]) => ours))}; plain ${timesOf(measured.map(([, plain]) => plain))}`,
    },
    measured.map(([ours, plain]) => [ours.rate, plain.rate]),
  );
}

function timesOf(runs: readonly { cpu: number; redis: number }[]): string {
  return `${round(median(runs.map(({ cpu }) => cpu)))} µs in the process, ${round(median(runs.map(({ redis }) => redis)))} µs in Redis`;
}
