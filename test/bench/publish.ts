/**
 * Puts measured figures into docs/benchmarks.md, between its two markers, and
 * draws them: node test/bench/publish.ts <results.json> …
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../scripts/stack/settings.ts';
import type { Figure } from './lib/figure.ts';
import type { machine } from './lib/machine.ts';
import { plotRatios } from './lib/plot.ts';
import { table } from './lib/report.ts';

interface Result {
  startedAt: string;
  machine: Record<'before' | 'after', ReturnType<typeof machine>>;
  figures: Figure[];
}

const results = process.argv.slice(2).map((path) => JSON.parse(readFileSync(path, 'utf8')) as Result);
if (results.length === 0) throw new Error('which results?');
const figures = results.flatMap((result) => result.figures);
const day = results[0]!.startedAt.slice(0, 10);
const loads = results.map(({ figures, machine }) => {
  const works = [...new Set(figures.map(({ work }) => work))].join(', ');
  return `${works} ${machine.before.load[0]} → ${machine.after.load[0]}`;
});
const { cpus, model, memoryGiB, platform, node } = results[0]!.machine.after;
const where = `Taken on ${day}: ${cpus} × ${model}, ${memoryGiB} GiB, ${platform}, Node ${node.slice(1)}.`;
const load = `The machine's load average (over a minute, before → after; the benchmark itself makes up to 3): ${loads.join('; ')}.`;
const file = join(ROOT, 'docs/benchmarks.md');
const [BEGIN, END] = ['<!-- figures -->', '<!-- /figures -->'];
const text = readFileSync(file, 'utf8');
const [head, rest] = [text.slice(0, text.indexOf(BEGIN)), text.slice(text.indexOf(END))];
writeFileSync(file, `${head}${BEGIN}\n${where} ${load}\n\n${table(figures)}\n\n${rest}`);
writeFileSync(join(ROOT, 'docs/benchmarks.svg'), plotRatios(figures));
process.stdout.write(`${figures.length} figures\n`);
