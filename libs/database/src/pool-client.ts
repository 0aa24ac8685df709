import pg from 'pg';

const READ_TIMEOUT = 'Query read timeout';

/**
 * A connection of the pool. One that has left a query unanswered is closed:
 * `pg` would give it back, and everybody after would wait on it in vain.
 */
export class PoolClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    // An answer and the end of a connection may come in one packet, before whoever is given the connection listens.
    this.on('error', () => undefined);
  }

  override query(...args: unknown[]): never {
    const answer: unknown = super.query(...(args as [string]));
    if (answer instanceof Promise) {
      answer.catch((error: unknown) => {
        if (error instanceof Error && error.message === READ_TIMEOUT) void this.end();
      });
    }
    return answer as never;
  }
}
