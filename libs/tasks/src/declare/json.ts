import { describeError } from '@app/redaction';
import { z } from 'zod';
import { InvalidTask } from './errors.js';

/** The most that a payload, a result or a progress may take as JSON. They carry ids; what is large belongs in a table. */
const MAX_BYTES = 64 * 1024;

/** How deep they may nest; Postgres gives up at some thousands. */
const MAX_DEPTH = 100;

/** What `JSON.stringify` writes for U+0000 and for half a surrogate pair; before a backslash it stands for the text itself. */
const UNSTORABLE = /(?<!\\)(?:\\\\)*\\u(?:(0000)|d[89a-f][0-9a-f]{2})/;

/**
 * A value as JSON that Postgres takes.
 *
 * @param what the value is, for the message of the error, which never holds the value itself.
 * @throws RangeError for what JSON or `jsonb` cannot hold (functions, symbols, bigints, cycles, U+0000, half a
 * surrogate pair, more than 100 levels), for what throws when it is read, and for more than 64 KiB.
 */
export function toJson(value: unknown, what: string): string {
  let json: string | undefined;
  let refusal: string | undefined;
  let parts = 0;
  try {
    json = JSON.stringify(value, (key, part: unknown) => {
      parts += 1;
      if (typeof part === 'function' || typeof part === 'symbol') {
        refusal = `${key === '' ? what : `${what}.${key}`} is a ${typeof part}, which JSON cannot hold`;
      } else if (parts > MAX_BYTES) {
        refusal = tooLarge(what);
      }
      if (refusal !== undefined) throw new RangeError(refusal);
      return part;
    });
  } catch (error) {
    // Words of JSON.stringify for a bigint and for a cycle, without the value; or whatever a getter or a toJSON throws.
    throw new RangeError(refusal ?? `${what} cannot be written as JSON: ${describeError(error).message.split('\n')[0]}`);
  }
  if (json === undefined) throw new RangeError(`${what} is undefined, which JSON cannot hold`);
  if (Buffer.byteLength(json) > MAX_BYTES) throw new RangeError(tooLarge(what));
  const unstorable = UNSTORABLE.exec(json);
  if (unstorable) throw new RangeError(`${what} holds ${unstorable[1] ? 'the character U+0000' : 'half a surrogate pair'}`);
  if (isTooDeep(json)) throw new RangeError(`${what} nests deeper than ${MAX_DEPTH} levels`);
  return json;
}

/**
 * A payload as JSON, when it is what the handler gets: JSON changes nothing of
 * it but that fields that are undefined are left out, and the task's schema takes
 * it as it is read back.
 *
 * @throws InvalidTask that names what is wrong.
 */
export async function payloadJson(task: { type: string; payload: z.ZodType }, payload: unknown): Promise<string> {
  const refuse = (why: string, cause?: unknown) => new InvalidTask(`the payload does not fit "${task.type}": ${why}`, { cause });
  let json: string;
  let result: z.ZodSafeParseResult<unknown>;
  try {
    json = toJson(payload, 'payload');
    refuseWhatJsonChanges(payload, 'payload');
    // Read as the worker will: a schema may ask for a Date, and a Date does not come back.
    result = await task.payload.safeParseAsync(JSON.parse(json));
  } catch (error) {
    // Ours, or whatever a getter of the payload, a refinement or a transform throws.
    throw refuse(describeError(error).message, error);
  }
  // Zod's text names the paths and what was expected, never the values.
  if (!result.success) throw refuse(z.prettifyError(result.error));
  return json;
}

/** @throws RangeError for a part that would come back as something else. The value has no cycles. */
function refuseWhatJsonChanges(value: unknown, path: string): void {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError(`${path} is ${value}, which JSON cannot hold`);
  if (value === undefined) throw new RangeError(`${path} is undefined, which becomes null in JSON`);
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    if (Object.keys(value).length !== value.length) throw new RangeError(`${path} is an array with holes or with fields, which JSON loses`);
    for (const [index, item] of value.entries()) refuseWhatJsonChanges(item, `${path}[${index}]`);
    return;
  }
  if (!isPlain(value)) {
    throw new RangeError(
      `${path} is a ${value.constructor?.name || 'class instance'}, which JSON changes: give what it holds, such as text`,
    );
  }
  for (const [key, item] of Object.entries(value)) {
    if (key === '__proto__') throw new RangeError(`${path} has a field named __proto__`);
    if (item !== undefined) refuseWhatJsonChanges(item, `${path}.${key}`);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object literal of another realm has a prototype of its own that has none.
  const isLiteral = prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
  return isLiteral && !('toJSON' in value) && Object.getOwnPropertySymbols(value).length === 0;
}

function isTooDeep(json: string): boolean {
  let depth = 0;
  for (const [bracket] of json.replace(/"(?:[^"\\]|\\.)*"/g, '').matchAll(/[[\]{}]/g)) {
    depth += bracket === '[' || bracket === '{' ? 1 : -1;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

function tooLarge(what: string): string {
  return `${what} takes more than ${MAX_BYTES} bytes`;
}
