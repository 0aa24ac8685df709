import { cpuSecondsOf } from '../lib/app.ts';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import type { Work } from '../lib/work.ts';

export interface Made {
  startedAt: number;
  seconds: number;
}

/** As many as the pool has connections. */
export const PRODUCERS = 10;
const MANY = 10_000;

const CASES = [
  {
    way: 'inTransaction',
    bare: 'bareTransaction',
    name: 'distribute in a transaction',
    anchor: 'bare BEGIN, INSERT, COMMIT (pg)',
    aim: 0.9,
  },
  { way: 'alone', bare: 'bareStatement', name: 'distribute by itself', anchor: 'bare INSERT that commits (pg)', aim: 0.9 },
];

/** The ledger's row, beside the same row written by hand, with ten connections each; and many rows at once. */
export const distribute: Work = {
  name: 'distribute',
  async run({ stack, pairs, count }): Promise<Figure[]> {
    const database = await stack.createDatabase();
    await database.query('CREATE TABLE bench_task (LIKE task INCLUDING ALL)');
    const environment = { ...productEnvironment, DATABASE_URL: database.url };
    await using ours = await Contestant.start('distributor', environment);
    await using bare = await Contestant.start('distributor', environment);
    const total = count(8_000);
    const measure = async (contestant: Contestant, way: string, table: 'task' | 'bench_task') => {
      await database.query(`TRUNCATE ${table}`);
      const before = cpuSecondsOf(contestant.pid);
      const { seconds } = await contestant.ask<Made>('make', { way, count: total, producers: PRODUCERS });
      const cpu = ((cpuSecondsOf(contestant.pid) - before) / total) * 1e6;
      await assertWritten(way, table, total);
      return { rate: total / seconds, cpu };
    };
    const measureAtOnce = async (contestant: Contestant, way: string, table: 'task' | 'bench_task') => {
      await database.query(`TRUNCATE ${table}`);
      const seconds = await contestant.ask<number>('makeAtOnce', { way, count: MANY });
      await assertWritten(way, table, MANY);
      return MANY / seconds;
    };
    const assertWritten = async (way: string, table: string, expected: number) => {
      const [found] = await database.query<{ rows: number; unique: number }>(
        `SELECT count(*)::int AS rows, count(DISTINCT payload)::int AS unique FROM ${table}`,
      );
      if (found?.rows !== expected || found.unique !== expected)
        throw new Error(`${way}: ${expected} were written, ${JSON.stringify(found)} found`);
    };
    const figures: Figure[] = [];
    for (const { way, bare: bareWay, name, anchor, aim } of CASES) {
      const measured = await alternate(
        pairs,
        () => measure(ours, way, 'task'),
        () => measure(bare, bareWay, 'bench_task'),
      );
      figures.push(
        figureOf(
          { work: 'distribute', name, anchor, unit: 'rows/s', aim: { kind: 'at least', bound: aim } },
          measured.map(([ours, anchor]) => [ours.rate, anchor.rate]),
        ),
        figureOf(
          { work: 'distribute', name: `processor time of the producer, ${name}`, anchor, unit: 'µs', aim: { kind: 'at most', bound: 1.3 } },
          measured.map(([ours, anchor]) => [ours.cpu, anchor.cpu]),
        ),
      );
    }
    const many = await alternate(
      pairs,
      () => measureAtOnce(ours, 'distributeMany', 'task'),
      () => measureAtOnce(bare, 'copy', 'bench_task'),
    );
    figures.push(
      figureOf(
        {
          work: 'distribute',
          name: `distributeMany, ${MANY.toLocaleString('en')} in a transaction`,
          anchor: 'COPY of such rows',
          unit: 'rows/s',
          aim: { kind: 'at least', bound: 0.4 },
        },
        many,
      ),
    );
    return figures;
  },
};
