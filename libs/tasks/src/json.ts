/** The most that a payload, a result or a progress may take as JSON. They carry ids; what is large belongs in a table. */
const MAX_BYTES = 64 * 1024;

/**
 * A value as JSON that Postgres takes.
 *
 * @param what the value is, for the message of the error, which never holds the value itself.
 * @throws RangeError for what JSON or `jsonb` cannot hold (functions, symbols, bigints, cycles, U+0000) and for more than 64 KiB.
 */
export function toJson(value: unknown, what: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(value, (key, part: unknown) => {
      if (typeof part === 'function' || typeof part === 'symbol') {
        throw new RangeError(`${key === '' ? what : `${what}.${key}`} is a ${typeof part}, which JSON cannot hold`);
      }
      return part;
    });
  } catch (error) {
    if (error instanceof RangeError) throw error;
    // JSON.stringify's own words for a bigint and for a cycle, without the value.
    throw new RangeError(`${what} cannot be written as JSON: ${(error as Error).message.split('\n')[0]}`);
  }
  if (json === undefined) throw new RangeError(`${what} is undefined, which JSON cannot hold`);
  if (json.includes('\\u0000')) throw new RangeError(`${what} holds the character U+0000`);
  if (Buffer.byteLength(json) > MAX_BYTES) throw new RangeError(`${what} takes more than ${MAX_BYTES} bytes`);
  return json;
}
