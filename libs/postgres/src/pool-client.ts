import pg from 'pg';
import { isDatabaseUnavailable } from './errors.js';

/** `pg`'s words for a query that was not answered in time. */
const READ_TIMEOUT = 'Query read timeout';
/** Postgres's for a prepared statement whose table a migration has changed meanwhile. */
const STALE_PLAN = 'cached plan must not change result type';

/** How many statements a connection keeps prepared; far more than an app has that are always the same. */
const MAX_PREPARED = 500;

/**
 * A connection of the pool.
 *
 * It prepares every statement that has parameters, so that the server parses it
 * once a connection and not every time. And one that is of no more use
 * is closed, for `pg` would give it back to the pool: one that has left a query
 * unanswered, on which everybody after would wait in vain; one to a server that
 * cannot serve, such as one that a failover has left behind to be read only, for
 * the next one may lead to its successor; and one whose prepared statements a
 * migration has made stale.
 */
export class PoolClient extends pg.Client {
  private readonly names = new Map<string, string>();

  constructor(config?: pg.ClientConfig) {
    super(config);
    // An answer and the end of a connection may come in one packet, before whoever is given the connection listens.
    this.on('error', () => undefined);
  }

  override query(...args: unknown[]): never {
    const [text, values, ...rest] = args;
    const name = typeof text === 'string' && Array.isArray(values) && values.length > 0 ? this.nameOf(text) : undefined;
    const passed = name === undefined ? args : [{ name, text, values }, ...rest];
    const answer: unknown = super.query(...(passed as [string]));
    if (answer instanceof Promise) {
      answer.catch((error: unknown) => {
        if (isDatabaseUnavailable(error) || (error instanceof Error && [READ_TIMEOUT, STALE_PLAN].includes(error.message))) void this.end();
      });
    }
    return answer as never;
  }

  private nameOf(text: string): string | undefined {
    let name = this.names.get(text);
    if (name === undefined && this.names.size < MAX_PREPARED) {
      name = `waybill_${this.names.size}`;
      this.names.set(text, name);
    }
    return name;
  }
}
