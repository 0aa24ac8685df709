import pg from 'pg';
import { Client, type Limits } from './client.js';
import { isDatabaseUnavailable } from './errors.js';
import { BEGIN, QueryWithBegin } from './query-with-begin.js';

/** `pg`'s words for a query that was not answered within its own `query_timeout`, which a URL may have. */
const READ_TIMEOUT = 'Query read timeout';
/** Postgres's for a prepared statement whose table a migration has changed meanwhile. */
const STALE_PLAN = 'cached plan must not change result type';

/** How many statements a connection keeps prepared; far more than an app has that are always the same. */
const MAX_PREPARED = 500;

/** What a statement answers that was not sent. */
const NOTHING = { command: '', rowCount: null, oid: 0, fields: [], rows: [] };

/**
 * A connection of the pool.
 *
 * It prepares every statement that has parameters, so that the server parses it
 * once a connection and not every time. It begins a transaction together with its
 * first statement, which saves a round trip: a failure to begin is that
 * statement's. And a connection that is of no more use
 * is closed, for `pg` would give it back to the pool: one that has left a query
 * unanswered, on which everybody after would wait in vain; one to a server that
 * cannot serve, such as one that a failover has left behind to be read only, for
 * the next one may lead to its successor; one whose prepared statements a
 * migration has made stale; and one whose transaction did not begin, in which
 * whatever followed would commit by itself.
 */
export class PoolClient extends Client {
  private readonly names = new Map<string, string>();
  /** Whether a transaction is to begin with the next statement. */
  private isToBegin = false;
  /** While a transaction begins by itself: what follows is sent when it has. */
  private beginning: Promise<void> | undefined;

  constructor(config?: pg.ClientConfig & Limits) {
    super(config);
    // An answer and the end of a connection may come in one packet, before whoever is given the connection listens.
    this.on('error', () => undefined);
  }

  override query(...args: unknown[]): never {
    return this.answer(args) as never;
  }

  private answer(args: unknown[]): unknown {
    const [text, values, callback] = args;
    const isPromised = typeof text === 'string' && typeof values !== 'function' && callback === undefined;
    if (!isPromised) {
      // A stream, or one with a callback: it cannot wait for the beginning, and is sent right after it.
      if (this.isToBegin) void this.begin().catch(() => undefined);
      return this.send(args);
    }
    if (text === BEGIN) {
      this.isToBegin = true;
      return Promise.resolve(NOTHING);
    }
    if (!this.isToBegin) return this.beginning ? this.beginning.then(() => this.send(args)) : this.send(args);
    if (text === 'COMMIT' || text === 'ROLLBACK') {
      this.isToBegin = false;
      return Promise.resolve(NOTHING);
    }
    const config = this.configOf(text, values);
    if (config && QueryWithBegin.isPrepared(this.connectionOf)) return this.sendWithBegin(config);
    return this.begin().then(() => this.send(args));
  }

  private send(args: unknown[]): unknown {
    const [text, values, ...rest] = args;
    const config = typeof text === 'string' ? this.configOf(text, values) : undefined;
    const passed = config ? [config, ...rest] : args;
    const answer: unknown = super.query(...(passed as [string]));
    if (answer instanceof Promise) answer.catch((error: unknown) => this.closeIfUseless(error));
    return answer;
  }

  private begin(): Promise<void> {
    this.isToBegin = false;
    const begun = (super.query(QueryWithBegin.first) as Promise<unknown>).then(
      () => undefined,
      (error: unknown) => {
        void this.end();
        throw error;
      },
    );
    this.beginning = begun.finally(() => (this.beginning = undefined));
    return this.beginning;
  }

  private sendWithBegin(config: pg.QueryConfig): Promise<pg.QueryResult> {
    this.isToBegin = false;
    return new Promise((resolve, reject) => {
      const query = new QueryWithBegin(config, (error, result, hasBegun) => {
        if (!error) return resolve(result);
        if (!hasBegun) void this.end();
        this.closeIfUseless(error);
        // Else it would lead to the socket alone.
        Error.captureStackTrace(error);
        reject(error);
      });
      super.query(query);
    });
  }

  private closeIfUseless(error: unknown): void {
    if (isDatabaseUnavailable(error) || (error instanceof Error && [READ_TIMEOUT, STALE_PLAN].includes(error.message))) void this.end();
  }

  /** How a statement is sent that can be prepared. */
  private configOf(text: string, values: unknown): pg.QueryConfig | undefined {
    const name = Array.isArray(values) && values.length > 0 ? this.nameOf(text) : undefined;
    return name === undefined ? undefined : { name, text, values: values as unknown[] };
  }

  private nameOf(text: string): string | undefined {
    let name = this.names.get(text);
    if (name === undefined && this.names.size < MAX_PREPARED) {
      name = `waybill_${this.names.size}`;
      this.names.set(text, name);
    }
    return name;
  }

  private get connectionOf(): Parameters<typeof QueryWithBegin.isPrepared>[0] {
    return (this as unknown as { connection: Parameters<typeof QueryWithBegin.isPrepared>[0] }).connection;
  }
}
