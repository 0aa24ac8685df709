import { type Figure, verdict } from './figure.ts';
import { median } from './statistics.ts';

const HEAD = ['work', 'beside', 'ours', 'anchor', 'compared', 'spread', 'aim', ''];

/** The figures as a table for a terminal; it is valid Markdown too. */
export function table(figures: readonly Figure[]): string {
  const rows = [HEAD, ...figures.map(row)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  const notes = figures.flatMap(({ name, note }) => (note === undefined ? [] : [`- ${name}: ${note}`]));
  const separator = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [line(HEAD), separator, ...rows.slice(1).map(line), ...(notes.length > 0 ? ['', ...notes] : [])].join('\n');
}

function row(figure: Figure): string[] {
  const { name, anchor, unit, ours, anchors, compared, comparedUnit, aim } = figure;
  const met = verdict(figure);
  return [
    name,
    anchor,
    `${round(median(ours))} ${unit}`,
    `${round(median(anchors))} ${unit}`,
    `${round(median(compared))}${comparedUnit === '×' ? '×' : ` ${comparedUnit}`}`,
    `${round(Math.min(...compared))} – ${round(Math.max(...compared))}`,
    aim ? `${aim.kind === 'at least' ? '≥' : '≤'} ${aim.bound}` : '',
    met === undefined ? '' : met ? 'met' : 'MISSED',
  ];
}

/** Three digits that matter. */
export function round(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
