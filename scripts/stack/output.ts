import { prettyFactory } from 'pino-pretty';

const COLOURS: Readonly<Record<string, string>> = { api: '\u001B[36m', worker: '\u001B[35m', stack: '\u001B[33m' };
const RESET = '\u001B[39m';
const WIDTH = 7;

/** The apps log JSON into our pipe; on a terminal we make of it what they would have shown there themselves. */
const pretty = process.stdout.isTTY
  ? prettyFactory({
      colorize: true,
      singleLine: true,
      ignore: 'pid,hostname,app,context',
      messageFormat: '{if context}{context}: {end}{msg}',
    })
  : undefined;

/** Writes what a part of the stack says, its name before every line. */
export function print(name: string, text: string, stream: NodeJS.WriteStream = process.stdout): void {
  const label = `${name.padEnd(WIDTH)}|`;
  const prefix = stream.isTTY ? `${COLOURS[name] ?? ''}${label}${RESET}` : label;
  const shown = pretty && text.startsWith('{') ? String(pretty(text)) : text;
  const lines = shown.replace(/\n$/, '').split('\n');
  stream.write(lines.map((line) => `${prefix} ${line}\n`).join(''));
}

/** Writes what the stack itself has to say. */
export function say(line: string): void {
  print('stack', line);
}

/** Writes a text that stands by itself, without names before its lines: what it shows can be copied. */
export function announce(text: string): void {
  process.stdout.write(`\n${text}\n\n`);
}

/** Writes why the stack cannot go on. */
export function complain(error: unknown): void {
  print('stack', error instanceof Error ? error.message : String(error), process.stderr);
}
