import pg from 'pg';

/** What a transaction is begun with, and the name under which a connection keeps it prepared. */
export const BEGIN = 'START TRANSACTION';
const PREPARED_BEGIN = 'waybill_begin';

/** What is used here of `pg`'s connection. */
interface Connection {
  readonly parsedStatements: Readonly<Record<string, string>>;
  bind(config: { portal: string; statement: string; values: unknown[]; binary: boolean }): void;
  execute(config: { portal: string }): void;
}

/** What is used here of `pg`'s query, which its types do not tell of. */
interface Prepared {
  prepare(connection: Connection): void;
  handleCommandComplete(message: object, connection: Connection): void;
}

const query: Prepared = pg.Query.prototype as never;

/**
 * A statement, and before it the beginning of its transaction, in one message to
 * the server. It is not two that are sent one after the other: where the beginning
 * fails the server does not look at the statement, which would else commit by itself.
 *
 * It overrides parts of `pg` that are not documented; a test holds what they must do.
 */
export class QueryWithBegin extends pg.Query {
  private hasBegun = false;

  /** The beginning by itself, after which a connection has it prepared. */
  static readonly first: pg.QueryConfig = { name: PREPARED_BEGIN, text: BEGIN };

  /** Whether a connection can begin with a statement: it has begun by itself before. */
  static isPrepared(connection: Connection): boolean {
    return connection.parsedStatements[PREPARED_BEGIN] !== undefined;
  }

  /** @param answer called once, with the error, and whether the transaction has begun; or with the result. */
  constructor(config: pg.QueryConfig, answer: (error: Error | null, result: pg.QueryResult, hasBegun: boolean) => void) {
    super(config, undefined, ((error: Error | null, result: pg.QueryResult) => answer(error, result, this.hasBegun)) as never);
  }

  prepare(connection: Connection): void {
    connection.bind({ portal: '', statement: PREPARED_BEGIN, values: [], binary: false });
    connection.execute({ portal: '' });
    query.prepare.call(this, connection);
  }

  handleCommandComplete(message: object, connection: Connection): void {
    if (this.hasBegun) query.handleCommandComplete.call(this, message, connection);
    this.hasBegun = true;
  }
}
