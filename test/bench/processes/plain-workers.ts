/** Plain BullMQ: a Worker a queue, with the library's own settings and the concurrency that is asked for. */
import { Queue, Worker } from 'bullmq';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { tally } from '../lib/plain-tally.ts';

/** `name:concurrency`, separated by commas. */
const settings = process.env['BENCH_QUEUES']!.split(',').map((part) => {
  const [name, concurrency] = part.split(':');
  return { name: name!, concurrency: Number(concurrency) };
});
const [host, port] = process.env['REDIS_ADDRESS']!.split(':');
const connection = { host: host!, port: Number(port) };

const queues = settings.map(({ name }) => new Queue(name, { connection }));
const workers = settings.map(({ name, concurrency }) => {
  const isFirst = name === 'critical' ? 1 : 0;
  const worker = new Worker<{ number: number }>(
    name,
    ({ data }) => {
      tally.started(data.number, isFirst);
      return Promise.resolve();
    },
    { connection, concurrency },
  );
  worker.on('completed', () => tally.done());
  worker.on('error', (error) => process.stderr.write(`${error.message}\n`));
  return worker;
});
await Promise.all(workers.map((worker) => worker.waitUntilReady()));

answer({
  pause: () => Promise.all(queues.map((queue) => queue.pause())),
  expect: ({ count }: { count: number }) => tally.expect(count),
  run: async ({ count }: { count: number }) => {
    const delivered = tally.expect(count);
    const startedAt = now();
    await Promise.all(queues.map((queue) => queue.resume()));
    const { endedAt, runs, unique, order } = await delivered;
    return { seconds: (endedAt - startedAt) / 1_000, runs, unique, order };
  },
});
