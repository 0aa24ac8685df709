import pg from 'pg';
import { limit } from './limit.js';

/** What is said of a query that was not answered in time; `pg`'s own words for it. */
const READ_TIMEOUT = 'Query read timeout';
/** And of a connection that was not there in time. */
const CONNECT_TIMEOUT = 'timeout expired';

/**
 * How long is waited for the server, in milliseconds; without them, for ever. They
 * stand in for `connectionTimeoutMillis` and `query_timeout` of `pg`, which hold it
 * against the server when the process itself stood still.
 */
export interface Limits {
  /** For a connection. */
  readonly connectLimit?: number;
  /** For the answer to a query, from when it is sent. */
  readonly answerLimit?: number;
}

/** What is used here of `pg`'s client, which its types do not tell of. */
interface Internals {
  _errorAllQueries(error: Error): void;
}

/**
 * A connection that waits for the server no longer than its {@link Limits} say. One
 * that leaves a query unanswered is closed, since nobody after could be answered on
 * it either; each of its queries fails with "Query read timeout".
 */
export class Client extends pg.Client {
  private readonly connectLimit: number | undefined;
  private readonly answerLimit: number | undefined;
  private stopWaiting: (() => void) | undefined;

  constructor(config: pg.ClientConfig & Limits = {}) {
    super(config);
    // The rest of it holds a password, which is not to lie about.
    this.connectLimit = config.connectLimit;
    this.answerLimit = config.answerLimit;
    this.connection.on('readyForQuery', () => this.stopWaiting && this.waitForAnswer());
    this.on('drain', () => this.answered());
    this.on('end', () => this.answered());
  }

  override connect(...args: unknown[]): never {
    const stop = limit(this.connectLimit, () => this.connection.stream.destroy(new Error(CONNECT_TIMEOUT)));
    this.once('connect', stop).once('end', stop);
    return super.connect(...(args as [never])) as never;
  }

  override query(...args: unknown[]): never {
    const answer: unknown = super.query(...(args as [string]));
    if (!this.stopWaiting) this.waitForAnswer();
    return answer as never;
  }

  private waitForAnswer(): void {
    this.answered();
    this.stopWaiting = limit(this.answerLimit, () => this.giveUp());
  }

  private answered(): void {
    this.stopWaiting?.();
    this.stopWaiting = undefined;
  }

  private giveUp(): void {
    // Whoever asks from now on is told that it is closed; whoever has asked, why.
    void this.end();
    this.connection.stream.destroy();
    (this as unknown as Internals)._errorAllQueries(new Error(READ_TIMEOUT));
  }
}
