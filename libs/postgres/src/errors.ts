/** SQLSTATE classes and Node codes that say: the server cannot be reached or used now, and may be again. */
const UNAVAILABLE_CODE = /^(08...|57P0[123]|53[0-9A-Z]{3}|ECONN\w+|EPIPE|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN)$/;

/** What `pg` says without a code. */
const UNAVAILABLE_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|Client has encountered a connection error|Connection ended|Driver not Connected|Cannot use a pool after calling end)/;

const UNIQUE_VIOLATION = '23505';

/** Whether an error means that the database cannot be reached or used at the moment. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && UNAVAILABLE_CODE.test(error.code)) return true;
  if (UNAVAILABLE_MESSAGE.test(error.message)) return true;
  if (error instanceof AggregateError) return error.errors.some(isDatabaseUnavailable);
  if ('driverError' in error) return isDatabaseUnavailable(error.driverError);
  return error.cause !== undefined && isDatabaseUnavailable(error.cause);
}

/** The name of the unique index that a write violated, or undefined when the error is another one. */
export function uniqueViolation(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('driverError' in error)) return undefined;
  const { code, constraint } = error.driverError as { code?: string; constraint?: string };
  return code === UNIQUE_VIOLATION ? constraint : undefined;
}
