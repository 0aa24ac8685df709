import { types } from 'node:util';
import { describeError, isDescription } from './error-description.js';
import { isSecretName, scrub } from './scrub.js';

/** How deep, how many values and how many characters of texts {@link redact} copies. */
const MAX_DEPTH = 8;
const MAX_VALUES = 1_000;
const MAX_CHARACTERS = 64 * 1024;
const MAX_NAME = 128;

/** What is left of the bounds, for one copy or for several together. */
export interface RedactionRoom {
  values: number;
  characters: number;
}

export function redactionRoom(): RedactionRoom {
  return { values: MAX_VALUES, characters: MAX_CHARACTERS };
}

/**
 * A copy, as plain data, of what is to be logged: the values of secret fields
 * replaced, texts scrubbed, errors described. It is bounded, whatever the value
 * holds, and never throws, whatever the value's properties do.
 */
export function redact(value: unknown, room: RedactionRoom = redactionRoom()): unknown {
  return copy(value, room, 0);
}

function copy(value: unknown, room: RedactionRoom, depth: number): unknown {
  room.values -= 1;
  switch (typeof value) {
    case 'string':
      return take(value, room);
    case 'bigint':
      return String(value).slice(0, MAX_NAME);
    case 'function':
    case 'symbol':
      return `[${typeof value}]`;
    case 'object':
      try {
        return value === null ? null : copyObject(value, room, depth);
      } catch {
        // A proxy, or a property, that cannot be read.
        return '[unreadable]';
      }
    default:
      return value;
  }
}

function copyObject(value: object, room: RedactionRoom, depth: number): unknown {
  const isDescribed = isDescription(value);
  if (isDescribed || value instanceof Error || types.isNativeError(value)) {
    const description = isDescribed ? value : describeError(value);
    room.characters -= JSON.stringify(description).length;
    return description;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH) return '[deep]';
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    for (let index = 0; index < value.length; index++) {
      if (isFull(room)) return [...items, `[${value.length - index} more]`];
      items.push(readAndCopy(value, index, room, depth));
    }
    return items;
  }
  const fields: [name: string, value: unknown][] = [];
  const keys = Object.keys(value);
  for (const [index, key] of keys.entries()) {
    if (isFull(room)) {
      fields.push(['[more]', keys.length - index]);
      break;
    }
    const name = take(key, room).slice(0, MAX_NAME).toWellFormed();
    fields.push([name, isSecretName(key) ? '[redacted]' : readAndCopy(value, key, room, depth)]);
  }
  return Object.fromEntries(fields);
}

function readAndCopy(from: object, key: string | number, room: RedactionRoom, depth: number): unknown {
  let value: unknown;
  try {
    value = (from as Record<string | number, unknown>)[key];
  } catch {
    // A getter that throws.
    return '[unreadable]';
  }
  return copy(value, room, depth + 1);
}

function isFull(room: RedactionRoom): boolean {
  return room.values <= 0 || room.characters <= 0;
}

function take(text: string, room: RedactionRoom): string {
  const taken = scrub(text).slice(0, Math.max(0, room.characters)).toWellFormed();
  room.characters -= taken.length;
  return taken;
}
