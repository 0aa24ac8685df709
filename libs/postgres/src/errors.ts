/**
 * SQLSTATEs and Node's codes that say: the server cannot be reached, or cannot serve now, and may again.
 * 08: the connection; 25006: it can only be read, as after a failover (a transaction that was begun READ ONLY says
 * it too); 53: it has run out of connections, memory or disk, but not 53400, a limit that is the statement's own
 * fault; 57P01 to 57P03: it is shutting down, has crashed, or is not up yet; 57P05: it has ended an idle session;
 * 58: its disk or its system fails it.
 */
const UNAVAILABLE_CODE = /^(08...|25006|53[0-3]..|57P0[1235]|58...|ECONN\w+|EPIPE|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN)$/;

/** What `pg` and TypeORM say without a code. */
const UNAVAILABLE_MESSAGE =
  /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed and is not queryable|There was an error establishing an SSL connection|Connection ended|Driver not Connected|Cannot use a pool after calling end)/;

/**
 * SQLSTATEs that say: this statement or transaction was ended before its time. 25P03, 25P04: it was idle, or
 * open, for too long; 40001, 40P01: it got in another's way; 55P03: it waited too long for a lock; 57014: it
 * took too long, or an operator has cancelled it.
 */
const CUT_SHORT_CODE = /^(25P0[34]|40001|40P01|55P03|57014)$/;

/** The same without a code of its own: a client that waits no longer, a migration that changed a table, a connection lost between two statements. */
const CUT_SHORT_MESSAGE = /^(Query read timeout|cached plan must not change result type|Query runner already released)/;

/** What a statement names is not there: 3F000, a schema; 42703, a column; 42883, a function; 42P01, a table. */
const MISSING_CODE = /^(3F000|42703|42883|42P01)$/;

const LOCK_NOT_AVAILABLE = '55P03';
const UNIQUE_VIOLATION = '23505';

/**
 * Whether an error means that the database cannot be reached, or cannot serve, at
 * the moment. That a single statement took too long is not among it: that may be
 * the statement's own fault ({@link isCutShort}).
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  return someCause(error, (code, message) => UNAVAILABLE_CODE.test(code) || UNAVAILABLE_MESSAGE.test(message));
}

/**
 * Whether an error means that a statement or a transaction was ended before its
 * time, by a limit, an operator, a deadlock or a lost connection: nothing of it
 * was kept, and the same once more may succeed.
 */
export function isCutShort(error: unknown): boolean {
  return someCause(error, (code, message) => CUT_SHORT_CODE.test(code) || CUT_SHORT_MESSAGE.test(message));
}

/** Whether the same may succeed a moment later: the database cannot serve now, or the statement was ended before its time. */
export function isTransient(error: unknown): boolean {
  return isDatabaseUnavailable(error) || isCutShort(error);
}

/** Whether an error means that a statement names a table, a column or the like that is not there: where migrations are pending, they may make it. */
export function isMissingInSchema(error: unknown): boolean {
  return someCause(error, (code) => MISSING_CODE.test(code));
}

/** Whether an error means that a statement waited for a lock for longer than its `lock_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return someCause(error, (code) => code === LOCK_NOT_AVAILABLE);
}

/** The name of the unique index that a write violated, or undefined when the error is another one. */
export function uniqueViolation(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('driverError' in error)) return undefined;
  const { code, constraint } = error.driverError as { code?: string; constraint?: string };
  return code === UNIQUE_VIOLATION ? constraint : undefined;
}

/** How deep causes are looked for: what is thrown may even be its own cause. */
const MAX_DEPTH = 8;

/** Looks at an error, at what TypeORM has wrapped in it, at its causes, and at each of several addresses that failed. */
function someCause(error: unknown, fits: (code: string, message: string) => boolean, depth = 0): boolean {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (fits(code, error.message)) return true;
  const inner: unknown[] = [error.cause, 'driverError' in error ? error.driverError : undefined];
  if (error instanceof AggregateError) inner.push(...error.errors);
  return inner.some((cause) => someCause(cause, fits, depth + 1));
}
