import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { InvalidTask } from './errors.js';
import { payloadJson, toJson } from './json.js';

const trap = () => {
  throw new Error('a trap');
};
const cycle: Record<string, unknown> = {};
cycle['self'] = cycle;
const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;
// Each level twice the one before: more than a computer can write.
const shared = Array.from({ length: 60 }).reduce<unknown>((below) => [below, below], []);

/** What neither a payload nor a result may hold. */
const UNSTORABLE: [what: string, value: unknown][] = [
  ['a NUL', 'a\0b'],
  ['a NUL in a key', { 'a\0b': 1 }],
  ['a NUL after a backslash', '\\\0'],
  ['half a character', '😀'.slice(0, 1)],
  ['the other half in a key', { ['😀'.slice(1)]: 1 }],
  ['a bigint', { at: 1n }],
  ['a function', { at: () => 1 }],
  ['a symbol', [Symbol('x')]],
  ['a cycle', cycle],
  ['a tree without end', shared],
  ['a hundred and one levels', nested(101)],
  ['a hundred thousand levels', nested(100_000)],
  ['more than 64 KiB', 'x'.repeat(65_536)],
  ['more than 64 KiB of another script', '話'.repeat(30_000)],
  [
    'a getter that throws',
    {
      get at() {
        return trap();
      },
    },
  ],
  ['a toJSON that throws', { toJSON: trap }],
  [
    'a toJSON that throws nothing',
    {
      toJSON() {
        throw undefined;
      },
    },
  ],
  [
    'a toJSON that throws a proxy',
    {
      toJSON() {
        throw new Proxy({}, { get: trap, getPrototypeOf: trap });
      },
    },
  ],
  ['undefined', undefined],
];

/** What JSON would change. */
const CHANGED: [what: string, value: unknown][] = [
  ['a Date', { at: new Date(0) }],
  ['a Map', { at: new Map([[1, 2]]) }],
  ['a Set', { at: new Set([1]) }],
  ['a class instance', { at: new (class Address {})() }],
  ['a URL', { at: new URL('http://x/') }],
  ['bytes', { at: Buffer.from('x') }],
  ['a boxed text', { at: Object('x') }],
  ['an error', { at: new Error('x') }],
  ['undefined in an array', [1, undefined]],
  ['a hole in an array', Object.assign([1], { length: 3 })],
  ['a field of an array', Object.assign([1], { at: 1 })],
  ['NaN', { at: Number.NaN }],
  ['Infinity', [Number.NEGATIVE_INFINITY]],
  ['a __proto__', JSON.parse('{"__proto__":{"admin":true}}')],
  ['a field with a symbol', { [Symbol('x')]: 1 }],
  ['a toJSON that is not seen', Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 2 })],
];

const task = { type: 'test.any', payload: z.any() };

describe('toJson', () => {
  it.each(UNSTORABLE)('refuses %s', (_, value) => {
    expect(() => toJson(value, 'the result')).toThrow(RangeError);
    expect(() => toJson(value, 'the result')).toThrow(/^the result/);
  });

  it('takes what looks like them: the six characters, whole pairs, a hundred levels', () => {
    for (const value of ['\\u0000', '\\\\u0000', '\\ud83d', '😀', nested(100), { '\\u0000': '[[[['.repeat(100) }]) {
      expect(JSON.parse(toJson(value, 'x'))).toEqual(value);
    }
  });
});

describe('payloadJson', () => {
  it.each([...UNSTORABLE, ...CHANGED])('refuses %s', async (_, value) => {
    await expect(payloadJson(task, value)).rejects.toThrow(InvalidTask);
    await expect(payloadJson(task, { list: [value] })).rejects.toThrow(/"test.any": payload/);
  });

  it('names the place', async () => {
    await expect(payloadJson(task, { a: [{ at: new Date(0) }] })).rejects.toThrow('payload.a[0].at is a Date');
  });

  it('leaves out what is undefined, and takes objects of another kind of literal', async () => {
    expect(await payloadJson(task, { a: undefined, b: Object.assign(Object.create(null), { c: -0 }) })).toBe('{"b":{"c":0}}');
  });

  it.each([
    ['wants a Date', z.object({ at: z.date() }), { at: new Date(0) }],
    ['makes a Date of one', z.object({ at: z.coerce.date() }), { at: new Date(0) }],
    ['makes a number of a text, given the number', z.object({ at: z.string().transform(Number) }), { at: 5 }],
    ['takes a Map', z.map(z.string(), z.string()), new Map()],
    ['refuses later', z.object({ at: z.number().refine(async () => false) }), { at: 1 }],
    ['throws', z.object({ at: z.number().transform(trap) }), { at: 1 }],
    ['throws later', z.object({ at: z.number().refine(async () => trap()) }), { at: 1 }],
    ['does not take what JSON leaves', z.custom((value) => 'a' in (value as object)), { a: undefined }],
  ])('refuses what its schema does not read back: one that %s', async (_, payload, value) => {
    await expect(payloadJson({ type: 'test.any', payload }, value)).rejects.toThrow(InvalidTask);
  });

  it('takes exactly what the handler gets as it was given', async () => {
    const value = fc.oneof(
      { weight: 3, arbitrary: fc.jsonValue() as fc.Arbitrary<unknown> },
      fc.anything({ withDate: true, withMap: true, withSet: true, withBigInt: true, withNullPrototype: true, withSparseArray: true }),
    );
    await fc.assert(
      fc.asyncProperty(value, async (given) => {
        const json = await payloadJson(task, given).catch((error: unknown) => {
          expect(error).toBeInstanceOf(InvalidTask);
          return undefined;
        });
        const back: unknown = json === undefined ? undefined : JSON.parse(json);
        if (json !== undefined) expect(isDeepStrictEqual(back, plain(given))).toBe(true);
        else expect(isStorable(given)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });
});

/** The value without fields that are undefined, without the sign of zero, and with ordinary prototypes. */
function plain(value: unknown): unknown {
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, plain(item)]])));
}

/** Whether JSON and Postgres keep a value as it is, said the slow way. */
function isStorable(value: unknown): boolean {
  try {
    const json = JSON.stringify(value);
    const text = (part: unknown): boolean =>
      typeof part === 'string'
        ? part.isWellFormed() && !part.includes('\0')
        : typeof part !== 'object' ||
          part === null ||
          Object.entries(part).every(([key, item]) => key !== '__proto__' && text(key) && text(item));
    return isDeepStrictEqual(JSON.parse(json), plain(value)) && text(JSON.parse(json)) && !hasClass(value);
  } catch {
    return false;
  }
}

function hasClass(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (!Array.isArray(value) && ![Object.prototype, null].includes(Object.getPrototypeOf(value))) return true;
  return Object.values(value).some(hasClass) || Object.getOwnPropertySymbols(value).length > 0;
}
