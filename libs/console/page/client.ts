import type { Commands, Queries, Wire } from '../src/api.js';

/** What the console could not do, in words for the operator. */
export class Failure extends Error {
  /** @param status of the answer; 0 where there was none. */
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Milliseconds that an answer may take. */
const PATIENCE = 20_000;

/** What the server's clock is ahead of this one, in milliseconds: distances from now go by the server's. */
let ahead = 0;

/** Now, by the server's clock. */
export function now(): number {
  return Date.now() + ahead;
}

async function call(path: string, init: RequestInit): Promise<unknown> {
  const begin = Date.now();
  let response: Response;
  try {
    // Whole: an address that holds a name and a password is none that a path could be added to.
    response = await fetch(new URL(path, location.origin), { ...init, signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    throw new Failure(0, (error as Error).name === 'TimeoutError' ? 'the worker does not answer in time' : 'the worker cannot be reached');
  }
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  const answer = (await response.json().catch(() => ({}))) as { message?: string };
  if (!response.ok) throw new Failure(response.status, answer.message ?? `the worker answers with ${response.status}`);
  const said = Date.parse(response.headers.get('date') ?? '');
  // The header has whole seconds; a smaller difference is none.
  if (!Number.isNaN(said)) ahead = Math.abs(said + 500 - (begin + Date.now()) / 2) < 1_500 ? 0 : said + 500 - (begin + Date.now()) / 2;
  return answer;
}

/** Asks the console's server. @throws Failure */
export async function ask<Name extends keyof Queries>(name: Name, input: Queries[Name]['input']): Promise<Wire<Queries[Name]['answer']>> {
  const query = Object.keys(input).length === 0 ? '' : `?input=${encodeURIComponent(JSON.stringify(input))}`;
  return (await call(`/api/${name}${query}`, {})) as Wire<Queries[Name]['answer']>;
}

/** Has the console's server do something. @throws Failure */
export async function command<Name extends keyof Commands>(
  name: Name,
  input: Commands[Name]['input'],
): Promise<Wire<Commands[Name]['answer']>> {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(input) };
  return (await call(`/api/${name}`, init)) as Wire<Commands[Name]['answer']>;
}
