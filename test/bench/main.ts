/**
 * `make bench`: how fast it is, beside what else there is.
 *
 *   node test/bench/main.ts [--only <work>[,<work>]] [--pairs n] [--quick] [--full] [--out <folder>]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Figure } from './lib/figure.ts';
import { machine } from './lib/machine.ts';
import { table } from './lib/report.ts';
import { startStack } from './lib/stack.ts';
import type { Bench } from './lib/work.ts';
import { works } from './works/index.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    pairs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    out: { type: 'string', default: '.data/bench' },
  },
});
const wanted = values.only?.split(',') ?? works.map(({ name }) => name);
const unknown = wanted.filter((name) => !works.some((work) => work.name === name));
if (unknown.length > 0) {
  process.stderr.write(`there is no work "${unknown.join(', ')}"; there are: ${works.map(({ name }) => name).join(', ')}\n`);
  process.exit(2);
}
const pairs = Number(values.pairs ?? (values.quick ? 2 : 5));
if (!Number.isInteger(pairs) || pairs < 1) throw new Error('--pairs must be a whole number from 1');

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const startedAt = new Date();
const before = machine();
const figures: Figure[] = [];
let failed = false;
{
  await using resources = new AsyncDisposableStack();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void resources.disposeAsync().finally(() => process.exit(1)));
  }
  const stack = await startStack(resources);
  const bench: Bench = {
    stack,
    pairs,
    count: (whole) => (values.quick ? Math.ceil(whole / 5) : whole),
    full: values.full,
    say,
  };
  for (const work of works.filter(({ name }) => wanted.includes(name))) {
    say(`${work.name} …`);
    try {
      await using own = new AsyncDisposableStack();
      const found = await work.run(bench, own);
      figures.push(...found);
      say(table(found));
    } catch (error) {
      // One work that fails must not take the other works' figures with it.
      failed = true;
      process.stderr.write(`${work.name} FAILED: ${(error as Error).stack}\n`);
    }
    await stack.flush();
  }
}

const folder = resolve(values.out);
mkdirSync(folder, { recursive: true });
const file = join(folder, values.only === undefined ? 'results.json' : `results-${wanted.join('-')}.json`);
const result = { startedAt, endedAt: new Date(), options: values, machine: { before, after: machine() }, figures };
writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
say(`\n${table(figures)}\n${file}`);
process.exit(failed ? 1 : 0);
