import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { Config } from '@app/config';
import { Client, isTransient } from '@app/postgres';
import { scrub } from '@app/redaction';
import type pg from 'pg';

/** Milliseconds. A command says within 5 s what it cannot reach, and Node needs a second or two of them to load it. */
const PATIENCE = 3_000;
const RETRY_INTERVAL = 500;
const REMINDER_INTERVAL = 30_000;

/** What may come of trying the database: it may be there later, it will not let us in, or `make migrate` is to be run. */
type Kind = 'unavailable' | 'refused' | 'unmigrated';

/** The database cannot be used. The message is one line for whoever runs the process: what, where, and what to do. */
export class DatabaseProblem extends Error {
  override readonly name = 'DatabaseProblem';

  constructor(
    readonly kind: Kind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Tells, over a connection, which migrations are still to be run. */
export type PendingCheck = (client: pg.ClientBase) => Promise<readonly string[]>;

/** What else was seen of a database that can be used. */
interface Usable {
  /** Whether our role is a superuser. */
  readonly asSuperuser: boolean;
}

/**
 * Makes sure that the database can be reached, lets us in, and has had the
 * migrations that `checks` ask for.
 *
 * @throws DatabaseProblem within a few seconds.
 */
export async function assertDatabase(config: Config, checks: readonly PendingCheck[] = []): Promise<Usable> {
  let client: pg.Client | undefined;
  try {
    // It reads the certificates that the URL names.
    client = new Client({
      connectionString: config.DATABASE_URL,
      application_name: 'waybill-check',
      connectLimit: PATIENCE,
      answerLimit: PATIENCE,
    });
    client.on('error', () => undefined);
    await client.connect();
    const pending: string[] = [];
    for (const check of checks) pending.push(...(await check(client)));
    if (pending.length > 0) throw unmigrated(config, pending);
    const { rows } = await client.query<Usable>(`SELECT current_setting('is_superuser') = 'on' AS "asSuperuser"`);
    return { asSuperuser: rows[0]?.asSuperuser === true };
  } catch (error) {
    throw error instanceof DatabaseProblem ? error : problemOf(config, error);
  } finally {
    await client?.end().catch(() => undefined);
  }
}

/**
 * For the start of an app: {@link untilUsable}, and warns of a role that may do
 * everything, the files and programs of the server's machine included.
 *
 * @throws DatabaseProblem when the database does not let us in.
 */
export async function waitForDatabase(config: Config, checks: readonly PendingCheck[] = []): Promise<void> {
  const { asSuperuser } = await untilUsable(config, checks);
  if (asSuperuser) {
    new Logger('Database').warn(
      `the role of DATABASE_URL is a superuser of the database at ${addressOf(config)}: use one that only owns its database (docs/security.md)`,
    );
  }
}

/**
 * As {@link assertDatabase}, but waits for a database that is not up or not
 * migrated yet; says so once, and then rarely.
 *
 * @throws DatabaseProblem when the database does not let us in.
 */
export async function untilUsable(config: Config, checks: readonly PendingCheck[] = []): Promise<Usable> {
  const logger = new Logger('Database');
  let said: Kind | undefined;
  let saidAt = 0;
  for (;;) {
    try {
      return await assertDatabase(config, checks);
    } catch (error) {
      if (!(error instanceof DatabaseProblem) || error.kind === 'refused') throw error;
      if (error.kind !== said || Date.now() - saidAt >= REMINDER_INTERVAL) {
        said = error.kind;
        saidAt = Date.now();
        logger.warn(`${error.message}; waiting for it`);
      }
    }
    await wait(RETRY_INTERVAL);
  }
}

/** What an error of connecting means, in words for whoever runs the process. */
function problemOf(config: Config, error: unknown): DatabaseProblem {
  const { code = '', message } = error as { code?: unknown; message: string };
  const sqlState = /^[0-9A-Z]{5}$/.test(String(code));
  const [reason] = scrub(message).split('\n');
  const database = `the database at ${addressOf(config)}`;
  const options = { cause: error };
  if (isTransient(error)) {
    if (sqlState) return new DatabaseProblem('unavailable', `${database} cannot serve now: ${reason} (${String(code)})`, options);
    const source = config.isSet('DATABASE_URL')
      ? 'DATABASE_URL says that it is there'
      : 'DATABASE_URL is not set, and this is where `make start` and `make services` run one';
    return new DatabaseProblem('unavailable', `${database} cannot be reached (${String(code) || reason}): ${source}`, options);
  }
  const advice = ['28000', '28P01', '3D000', 'ENOENT', 'EACCES'].includes(String(code)) ? ': see DATABASE_URL' : '';
  return new DatabaseProblem(
    'refused',
    `${database} cannot be used: ${reason}${code === '' ? '' : ` (${String(code)})`}${advice}`,
    options,
  );
}

function unmigrated(config: Config, pending: readonly string[]): DatabaseProblem {
  const what = pending.length === 1 ? '1 migration is' : `${pending.length} migrations are`;
  return new DatabaseProblem('unmigrated', `the database at ${addressOf(config)} is not migrated, ${what} pending: run \`make migrate\``);
}

/** host:port, without user and password. */
function addressOf({ DATABASE_URL }: Config): string {
  const { hostname, port, searchParams } = new URL(DATABASE_URL);
  return `${searchParams.get('host') ?? (hostname || 'localhost')}:${searchParams.get('port') ?? (port || '5432')}`;
}
