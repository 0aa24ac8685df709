import pg from 'pg';

const READ_TIMEOUT = 'Query read timeout';

/** How many statements a connection keeps prepared; far more than an app has that are always the same. */
const MAX_PREPARED = 500;

/**
 * A connection of the pool.
 *
 * It prepares every statement that has parameters, so that the server reads and
 * plans it once a connection and not every time. And one that has left a query
 * unanswered is closed: `pg` would give it back, and everybody after would wait
 * on it in vain.
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
        if (error instanceof Error && error.message === READ_TIMEOUT) void this.end();
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
