/**
 * Puts measured figures into docs/benchmarks.md, between its two markers, and
 * draws them: node test/bench/publish.ts <results.json> …
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../scripts/stack/settings.ts';
import type { Figure } from './lib/figure.ts';
import { plotRatios } from './lib/plot.ts';
import { table } from './lib/report.ts';

interface Result {
  startedAt: string;
  machine: Record<'before' | 'after', { load: number[] }>;
  figures: Figure[];
}

const results = process.argv.slice(2).map((path) => JSON.parse(readFileSync(path, 'utf8')) as Result);
if (results.length === 0) throw new Error('which results?');
const figures = results.flatMap((result) => result.figures);
const taken = results.map(
  ({ startedAt, machine }) =>
    `${startedAt.slice(0, 16).replace('T', ' ')} UTC (load ${machine.before.load[0]} before, ${machine.after.load[0]} after)`,
);
const file = join(ROOT, 'docs/benchmarks.md');
const [BEGIN, END] = ['<!-- figures -->', '<!-- /figures -->'];
const text = readFileSync(file, 'utf8');
const [head, rest] = [text.slice(0, text.indexOf(BEGIN)), text.slice(text.indexOf(END))];
writeFileSync(file, `${head}${BEGIN}\nTaken ${[...new Set(taken)].join('; ')}.\n\n${table(figures)}\n${rest}`);
writeFileSync(join(ROOT, 'docs/benchmarks.svg'), plotRatios(figures));
process.stdout.write(`${figures.length} figures\n`);
