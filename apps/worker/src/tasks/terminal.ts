import type { Writable } from 'node:stream';
import Table from 'cli-table3';

/** Between the columns of a table. */
const GAP = '  ';

/**
 * Where a command answers: its results as text for people, or as JSON, on one
 * stream; what is wrong on the other. What it shows may be anybody's text, so
 * everything is made harmless here.
 */
export class Terminal {
  /** What the process is to exit with. */
  exitCode = 0;

  constructor(
    readonly out: Writable,
    readonly err: Writable,
  ) {}

  say(text: string): void {
    this.out.write(`${harmless(text)}\n`);
  }

  json(value: unknown): void {
    const text = JSON.stringify(value, null, 2);
    this.out.write(`${text.replace(DANGEROUS, escaped)}\n`);
  }

  /** Says what is wrong; the command has failed. */
  fail(text: string): void {
    this.err.write(`${harmless(text)}\n`);
    this.exitCode = 1;
  }
}

/** Control characters, those among them that turn the direction of a text, and what else ends a line; a line break is ours. */
const DANGEROUS = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

function harmless(text: string): string {
  return text.replace(DANGEROUS, '\uFFFD');
}

/** As JSON writes a character that it may not hold: the value stays what it is. */
function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`).join('');
}

/** A text of which a part is not ours, in one line: it cannot begin another one that looks like ours. */
export function oneLine(text: string): string {
  return harmless(text.replace(/\s+/g, ' ').trim());
}

/** A column of a table; what is wider than its width is cut. */
export interface Column {
  head: string;
  width: number;
  align?: 'left' | 'right';
}

type Row = InstanceType<typeof Table>[number] & unknown[];

/** A table without an index and without lines. A row may be one cell that spans all columns. */
export function table(columns: readonly Column[], rows: readonly Row[]): string {
  const table = new Table({
    head: columns.map(({ head }) => head),
    colWidths: columns.map(({ width }) => width),
    colAligns: columns.map(({ align = 'left' }) => align),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
    chars: { ...NO_LINES, middle: GAP },
  });
  table.push(...rows);
  return table.toString().replace(/ +$/gm, '');
}

const NO_LINES = Object.fromEntries(
  ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
    .concat('left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid')
    .map((line) => [line, '']),
);
