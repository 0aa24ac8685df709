import { describe, expect, it } from 'vitest';
import { isCutShort, isDatabaseUnavailable } from './errors.js';

const withCode = (code: string, message = 'whatever the server says, in its own language') => Object.assign(new Error(message), { code });

/** What the server or the network says, and what it means. */
const CODES: readonly [code: string, what: string, meaning: 'unavailable' | 'cut short' | 'neither'][] = [
  ['08000', 'connection_exception', 'unavailable'],
  ['08P01', 'a pooler that gets no connection', 'unavailable'],
  ['25006', 'read-only, as after a failover', 'unavailable'],
  ['53000', 'insufficient_resources', 'unavailable'],
  ['53100', 'disk_full', 'unavailable'],
  ['53200', 'out_of_memory', 'unavailable'],
  ['53300', 'too_many_connections', 'unavailable'],
  ['53400', 'configuration_limit_exceeded, by one statement', 'neither'],
  ['57P01', 'admin_shutdown', 'unavailable'],
  ['57P02', 'crash_shutdown', 'unavailable'],
  ['57P03', 'starting up, or in recovery mode', 'unavailable'],
  ['57P04', 'database_dropped', 'neither'],
  ['57P05', 'idle_session_timeout, which met a query', 'unavailable'],
  ['58000', 'system_error', 'unavailable'],
  ['58030', 'io_error', 'unavailable'],
  ['58P01', 'undefined_file', 'unavailable'],
  ['ECONNREFUSED', 'nobody listens', 'unavailable'],
  ['ECONNRESET', 'cut off', 'unavailable'],
  ['ETIMEDOUT', 'no route', 'unavailable'],
  ['ENOTFOUND', 'no such name, yet', 'unavailable'],
  ['25P03', 'idle_in_transaction_session_timeout', 'cut short'],
  ['25P04', 'transaction_timeout', 'cut short'],
  ['40001', 'serialization_failure', 'cut short'],
  ['40P01', 'deadlock_detected', 'cut short'],
  ['55P03', 'lock_not_available', 'cut short'],
  ['57014', 'query_canceled', 'cut short'],
  ['22021', 'a text that cannot be stored', 'neither'],
  ['23505', 'unique_violation', 'neither'],
  ['28P01', 'the password is wrong', 'neither'],
  ['3D000', 'no such database', 'neither'],
  ['42P01', 'no such table', 'neither'],
  ['42501', 'insufficient_privilege', 'neither'],
  ['XX000', 'internal_error', 'neither'],
  ['ERR_ASSERTION', 'a fault of ours', 'neither'],
];

/** What `pg`, its pool and TypeORM say without a code. */
const MESSAGES: readonly [message: string, meaning: 'unavailable' | 'cut short' | 'neither'][] = [
  ['Connection terminated', 'unavailable'],
  ['Connection terminated unexpectedly', 'unavailable'],
  ['Connection terminated due to connection timeout', 'unavailable'],
  ['timeout expired', 'unavailable'],
  ['timeout exceeded when trying to connect', 'unavailable'],
  ['Client has encountered a connection error and is not queryable', 'unavailable'],
  ['Client was closed and is not queryable', 'unavailable'],
  ['Query read timeout', 'cut short'],
  ['cached plan must not change result type', 'cut short'],
  ['Query runner already released. Cannot run queries anymore.', 'cut short'],
  ['the mail server said: Connection terminated', 'neither'],
  ['Query values must be an array', 'neither'],
];

const meaningOf = (error: unknown) => (isDatabaseUnavailable(error) ? 'unavailable' : isCutShort(error) ? 'cut short' : 'neither');

describe('what an error of Postgres means', () => {
  it.each(CODES)('%s (%s): %s', (code, _, meaning) => {
    expect(meaningOf(withCode(code))).toBe(meaning);
    // Never both: an attempt that was cut short counts, and one that met no database does not.
    expect(isDatabaseUnavailable(withCode(code)) && isCutShort(withCode(code))).toBe(false);
  });

  it.each(MESSAGES)('"%s": %s', (message, meaning) => {
    expect(meaningOf(new Error(message))).toBe(meaning);
  });

  it('is seen through whatever wraps it', () => {
    const inner = withCode('57P03');
    const wrappings = [
      Object.assign(new Error('QueryFailedError'), { driverError: inner }),
      new Error('could not begin', { cause: inner }),
      new AggregateError([new Error('of another address'), inner]),
      new Error('outer', { cause: Object.assign(new Error('QueryFailedError'), { driverError: inner }) }),
    ];
    expect(wrappings.map(meaningOf)).toEqual(wrappings.map(() => 'unavailable'));
    const circular = new Error('its own cause');
    circular.cause = circular;
    expect(meaningOf(circular)).toBe('neither');
    expect(['57P03', null, undefined, { code: '57P03' }].map(meaningOf)).toEqual(Array(4).fill('neither'));
  });
});
