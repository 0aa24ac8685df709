import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { oneLine, table, Terminal } from './terminal.js';

const start = () => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  return { terminal: new Terminal(out, err), said: () => String(out.read() ?? ''), complained: () => String(err.read() ?? '') };
};

/** Every code point that moves a cursor, hides a text, or turns it around. */
const DANGEROUS = Array.from({ length: 0x110000 }, (_, codePoint) => String.fromCodePoint(codePoint)).filter(
  (character) => character !== '\n' && /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(character),
);

describe('what a command prints', () => {
  it('holds no control character, on either stream', () => {
    const { terminal, said, complained } = start();
    expect(DANGEROUS).toEqual(expect.arrayContaining(['\u001B', '\0', '\r', '\u007F', '\u009B', '\u202E', '\u2066', '\u2028', '\uD800']));
    terminal.say(DANGEROUS.join('.'));
    terminal.fail(DANGEROUS.join('.'));
    for (const text of [said(), complained()]) expect(text).toBe(`${DANGEROUS.map(() => '\uFFFD').join('.')}\n`);
    terminal.say('Zoë 漢字 😀 – as it is\nand the next line');
    expect(said()).toBe('Zoë 漢字 😀 – as it is\nand the next line\n');
  });

  it('is JSON without a control character, and with the same value', () => {
    const { terminal, said } = start();
    const value = { text: [...DANGEROUS, '\n', 'Zoë'].join('.') };
    terminal.json(value);
    const text = said();
    expect(DANGEROUS.filter((character) => text.includes(character))).toEqual([]);
    expect(JSON.parse(text)).toEqual(value);
  });

  it('does not let a text begin a line of its own', () => {
    expect(oneLine('an error\r\n\tstate  completed\u2028id\u001B[2J')).toBe('an error state completed id\uFFFD[2J');
  });

  it('fails once it has said that something is wrong', () => {
    const { terminal } = start();
    terminal.say('all is well');
    expect(terminal.exitCode).toBe(0);
    terminal.fail('it is not');
    expect(terminal.exitCode).toBe(1);
  });

  it('is a table of the widths that were asked for, whatever is in it', () => {
    const columns = [
      { head: 'id', width: 36 },
      { head: 'type', width: 36 },
      { head: 'dead', width: 8, align: 'right' as const },
    ];
    const rows = [['a'.repeat(36), '漢'.repeat(50), 3], [{ colSpan: 3, content: 'e'.repeat(500) }], ['b', 'type', 12]];
    const lines = table(columns, rows).split('\n');
    expect(lines.map((line) => line.replace(/ +/g, ' '))).toEqual([
      'id type dead',
      expect.stringMatching(/^a{36} 漢{17}… 3$/),
      expect.stringMatching(/^e{70,}…$/),
      'b type 12',
    ]);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(36 + 36 + 8 + 4);
  });
});
