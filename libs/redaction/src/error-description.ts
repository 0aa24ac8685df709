import { types } from 'node:util';
import { MAX_STACK, MAX_TEXT, scrub } from './scrub.js';

/** The most that all texts of one description take together, in UTF-16 code units. */
export const MAX_DESCRIPTION = 32 * 1024;

/** How many errors one description tells of: the error, its causes, and what it gathers. */
const MAX_ERRORS = 10;

/** A name, such as a class's. */
const MAX_NAME = 128;

/** What may be kept of an error: nothing that a library hung on it, such as SQL parameters or an SMTP envelope. */
export interface ErrorDescription {
  type: string;
  message: string;
  code?: string | number;
  stack?: string;
  cause?: ErrorDescription;
  /** What an AggregateError gathers. */
  errors?: ErrorDescription[];
}

/** What is left of the bounds of one description. */
interface Room {
  characters: number;
  errors: number;
}

/**
 * Describes whatever was thrown, an Error or not, without secrets or personal
 * data and within {@link MAX_DESCRIPTION}. It never throws, whatever the error's
 * properties do.
 */
export function describeError(thrown: unknown): ErrorDescription {
  const description = describe(thrown, { characters: MAX_DESCRIPTION, errors: MAX_ERRORS });
  described.add(description);
  return description;
}

/** What {@link describeError} has made. */
const described = new WeakSet<object>();

/** Whether a value is a description of {@link describeError}: clean, and within its bounds. */
export function isDescription(value: object): value is ErrorDescription {
  return described.has(value);
}

function describe(thrown: unknown, room: Room): ErrorDescription {
  room.errors -= 1;
  if (!isError(thrown)) {
    return { type: typeof thrown, message: take(typeof thrown === 'string' ? thrown : 'a value that is not an Error was thrown', room) };
  }
  const code = read(thrown, 'code');
  const message = read(thrown, 'message');
  const stack = read(thrown, 'stack');
  const cause = read(thrown, 'cause');
  const description: ErrorDescription = {
    type: name(read(read(thrown, 'constructor'), 'name')) || name(read(thrown, 'name')) || 'Error',
    message: typeof message === 'string' ? take(message, room) : 'its message is no text',
    ...(typeof code === 'string' ? { code: name(code) } : typeof code === 'number' && { code }),
    ...(typeof stack === 'string' && { stack: take(stack, room, MAX_STACK) }),
  };
  if (cause !== undefined && room.errors > 0) description.cause = describe(cause, room);
  const errors = gathered(thrown).slice(0, room.errors);
  if (errors.length > 0) {
    description.errors = errors.map((error) => describe(error, room));
    // Those that Node gathers of its attempts to connect have no words of their own.
    if (description.message === '') description.message = description.errors[0]!.message;
  }
  return description;
}

function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error || types.isNativeError(thrown);
  } catch {
    // A proxy whose prototype cannot be read.
    return false;
  }
}

/** A property of whatever it is, or undefined when reading it throws. */
function read(from: unknown, key: string): unknown {
  try {
    return (from as Record<string, unknown> | null | undefined)?.[key];
  } catch {
    return undefined;
  }
}

function gathered(thrown: Error): unknown[] {
  try {
    const errors = read(thrown, 'errors');
    return thrown instanceof AggregateError && Array.isArray(errors) ? errors.slice(0, MAX_ERRORS) : [];
  } catch {
    // A proxy that is revoked, or whose elements cannot be read.
    return [];
  }
}

function name(value: unknown): string {
  return typeof value === 'string' ? scrub(value).slice(0, MAX_NAME).toWellFormed() : '';
}

/** A text within what is left of the room. */
function take(text: string, room: Room, limit = MAX_TEXT): string {
  const taken = scrub(text, limit).slice(0, room.characters).toWellFormed();
  room.characters -= taken.length;
  return taken;
}
