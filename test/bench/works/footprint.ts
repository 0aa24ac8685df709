import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '../../../scripts/stack/ports.ts';
import { App } from '../lib/app.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import type { Work } from '../lib/work.ts';

/** How long a process settles before its memory is read. Milliseconds. */
const SETTLE = 4_000;

interface Footprint {
  /** Milliseconds from the start of the process until it can work. */
  start: number;
  /** MiB. */
  memory: number;
}

/** What an idle process takes, and how long it takes to come up, beside a Nest context that has loaded as much and does nothing. */
export const footprint: Work = {
  name: 'footprint',
  async run({ stack, pairs }): Promise<Figure[]> {
    const database = await stack.createDatabase();
    const [httpPort, grpcPort] = [await freePort(), await freePort()];
    const environment = {
      ...productEnvironment,
      DATABASE_URL: database.url,
      REDIS_ADDRESS: stack.redisAddress,
      HTTP_PORT: String(httpPort),
      GRPC_PORT: String(grpcPort),
    };
    const read = async (app: App, ready: (app: App) => Promise<number>): Promise<Footprint> => {
      await using running = app;
      const start = await ready(running);
      await wait(SETTLE);
      return { start, memory: running.memory };
    };
    const measureApi = () => read(new App('dist/api.js', environment), (app) => app.listensOn(grpcPort));
    const measureWorker = () =>
      // It says so on a line of level info.
      read(new App('dist/worker.js', { ...environment, LOG_LEVEL: 'info' }), (app) => app.says('task processor started'));
    const measureBare = (packages: string) =>
      read(new App('test/bench/processes/bare-context.ts', { NODE_ENV: 'production', BENCH_PACKAGES: packages }), (app) =>
        app.says('ready'),
      );

    const figures: Figure[] = [];
    for (const [name, measure] of [
      ['api', measureApi],
      ['worker', measureWorker],
    ] as const) {
      const measured = await alternate(pairs, measure, () => measureBare(name));
      const common = {
        work: 'footprint',
        anchor: 'bare Nest context, same packages one by one',
        aim: { kind: 'at most', bound: 1.3 },
      } as const;
      figures.push(
        figureOf(
          { ...common, name: `memory of an idle ${name}`, unit: 'MiB' },
          measured.map(([ours, bare]) => [ours.memory, bare.memory]),
        ),
        figureOf(
          { ...common, name: `start-up of the ${name}`, unit: 'ms' },
          measured.map(([ours, bare]) => [ours.start, bare.start]),
        ),
      );
    }
    return figures;
  },
};
