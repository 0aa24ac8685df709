import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { type Aim, alternate, type Figure, figureOf } from '../lib/figure.ts';
import { insertRows } from '../lib/ledger-rows.ts';
import type { Database } from '../lib/stack.ts';
import { assertExact } from '../lib/tally.ts';
import type { Work } from '../lib/work.ts';
import type { Run } from './engine.ts';

const SLOTS = 15;

/** What it costs to be watched: tasks on the ledger with metrics that are read every five seconds, and with a trace of each, beside none. */
export const telemetry: Work = {
  name: 'telemetry',
  async run({ stack, pairs, count }, resources): Promise<Figure[]> {
    const collector = createServer((request, response) => request.resume().on('end', () => response.end()));
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    resources.defer(() => void collector.close());
    const url = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    const watched: { name: string; environment: Record<string, string>; aim?: Aim }[] = [
      { name: 'with metrics, read every 5 s', environment: { BENCH_METRICS: 'on' }, aim: { kind: 'at least', bound: 0.97 } },
      { name: 'with a trace of every task', environment: { OTEL_EXPORTER_OTLP_ENDPOINT: url } },
    ];
    const total = count(40_000);
    const start = async (more: Record<string, string>) => {
      const database = await stack.createDatabase();
      const environment = {
        ...productEnvironment,
        DATABASE_URL: database.url,
        QUEUE_WEIGHTS: 'default=1',
        WORKER_CONCURRENCY: String(SLOTS),
      };
      return { database, engine: resources.use(await Contestant.start('engine', { ...environment, ...more })) };
    };
    const measure = async ({ database, engine }: { database: Database; engine: Contestant }) => {
      await engine.ask('pause');
      await insertRows(database, total, 'pending');
      const run = await engine.ask<Run>('run', { count: total });
      assertExact('the ledger, watched', run, total);
      return total / run.seconds;
    };
    const unwatched = await start({});
    const figures: Figure[] = [];
    for (const { name, environment, aim } of watched) {
      const own = await start(environment);
      const measured = await alternate(
        pairs,
        () => measure(own),
        () => measure(unwatched),
      );
      figures.push(
        figureOf({ work: 'telemetry', name: `tasks on the ledger ${name}`, anchor: 'itself, unwatched', unit: 'tasks/s', aim }, measured),
      );
    }
    return figures;
  },
};
