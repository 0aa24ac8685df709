/** graphile-worker: its own settings but for the concurrency, or set up for throughput. */
import { type Runner, makeWorkerUtils, run } from 'graphile-worker';
import { Logger } from 'graphile-worker';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { tally } from '../lib/plain-tally.ts';
import { assertExact } from '../lib/tally.ts';

const CHUNK = 1_000;
const connectionString = process.env['DATABASE_URL']!;
const logger = new Logger(() => () => undefined);
const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();

answer({
  run: async ({ count, slots, batched }: { count: number; slots: number; batched?: boolean }) => {
    for (let from = 0; from < count; from += CHUNK) {
      await utils.addJobs(
        Array.from({ length: Math.min(CHUNK, count - from) }, (_, index) => ({ identifier: 'no_op', payload: { number: from + index } })),
      );
    }
    const delivered = tally.expect(count);
    const startedAt = now();
    const runner: Runner = await run({
      connectionString,
      logger,
      concurrency: slots,
      maxPoolSize: 10,
      noHandleSignals: true,
      ...(batched && { preset: { worker: { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } } }),
      taskList: {
        no_op: (payload) => {
          tally.started((payload as { number: number }).number);
          return Promise.resolve();
        },
      },
    });
    runner.events.on('job:success', () => tally.done());
    const { endedAt, runs, unique } = await delivered;
    await runner.stop();
    assertExact('graphile-worker', { runs, unique }, count);
    return (endedAt - startedAt) / 1_000;
  },
});
