import pg from 'pg';

/** What is said of a query that was not answered in time; `pg`'s own words for it. */
const READ_TIMEOUT = 'Query read timeout';

/**
 * A connection that waits `query_timeout` milliseconds for the answer to each
 * query, from when it was sent. Then it is closed, for nobody after could be
 * answered on it, and every query on it fails with "Query read timeout".
 *
 * `pg` has this limit too, but holds the process's own standstill against the
 * server: when an event loop was blocked, timers come before the sockets are read,
 * and a query fails whose answer has long been there. Here they are read first.
 */
export class Client extends pg.Client {
  private readonly limit: number;
  private timer: NodeJS.Timeout | undefined;
  private afterReading: NodeJS.Immediate | undefined;

  constructor(config?: pg.ClientConfig) {
    super(config);
    // What the options and the URL have come to, which the types of `pg` do not tell of.
    const { connectionParameters } = this as unknown as { connectionParameters: { query_timeout: number } };
    this.limit = connectionParameters.query_timeout;
    connectionParameters.query_timeout = 0;
    this.connection.on('readyForQuery', () => this.timer && this.waitForAnswer());
    this.on('drain', () => this.stopWaiting());
    this.on('end', () => this.stopWaiting());
  }

  override query(...args: unknown[]): never {
    const answer: unknown = super.query(...(args as [string]));
    if (this.limit && !this.timer) this.waitForAnswer();
    return answer as never;
  }

  private waitForAnswer(): void {
    this.stopWaiting();
    // An immediate runs when the loop has read what its sockets have.
    this.timer = setTimeout(() => (this.afterReading = setImmediate(() => this.giveUp())), this.limit).unref();
  }

  private stopWaiting(): void {
    clearTimeout(this.timer);
    clearImmediate(this.afterReading);
    this.timer = undefined;
  }

  private giveUp(): void {
    this.connection.stream.destroy(new Error(READ_TIMEOUT));
  }
}
