/** pg-boss, set up for throughput: with its own settings a worker takes one job every two seconds. */
import { PgBoss } from 'pg-boss';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { tally } from '../lib/plain-tally.ts';
import { assertExact } from '../lib/tally.ts';

const QUEUE = 'no_op';
const CHUNK = 1_000;
const boss = new PgBoss({ connectionString: process.env['DATABASE_URL']!, max: 10 });
boss.on('error', (error) => process.stderr.write(`${error.message}\n`));
await boss.start();
await boss.createQueue(QUEUE);

answer({
  /** Writes the jobs, and then has them worked off; only the latter is timed. */
  run: async ({ count, slots, batchSize }: { count: number; slots: number; batchSize: number }) => {
    for (let from = 0; from < count; from += CHUNK) {
      await boss.insert(
        QUEUE,
        Array.from({ length: Math.min(CHUNK, count - from) }, (_, index) => ({ data: { number: from + index } })),
      );
    }
    const delivered = tally.expect(count);
    const startedAt = now();
    await boss.work<{ number: number }>(
      QUEUE,
      { localConcurrency: slots, batchSize, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 },
      async (jobs) => {
        for (const { data } of jobs) tally.started(data.number);
        for (const _ of jobs) tally.done();
      },
    );
    const { endedAt, runs, unique } = await delivered;
    await boss.offWork(QUEUE, { wait: true });
    assertExact('pg-boss', { runs, unique }, count);
    return (endedAt - startedAt) / 1_000;
  },
});
