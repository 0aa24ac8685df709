import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The top of the checkout. */
export const ROOT = resolve(import.meta.dirname, '../..');

const LOOPBACK = '127.0.0.1';

/** Everybody knows it: the apps refuse it in production (libs/config). */
const DEVELOPMENT_CONSOLE_PASSWORD = 'waybill-operator';

/** What the development stack reads from the environment beside what the apps read. */
export interface StackSettings {
  /** Where the embedded database, the caught mail and the record of running processes live. */
  readonly dataDir: string;
  /** The address that the apps listen on. */
  readonly host: string;
  /** The same as a link says it. */
  readonly linkHost: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  /** Where the worker serves the console. */
  readonly consolePort: number;
  /** The console's password; undefined where it is a secret of the user's own. */
  readonly consolePassword: string | undefined;
  /** Where the worker answers probes and scrapes, and the api scrapes. */
  readonly workerHttpPort: number;
  readonly metricsPort: number;
  readonly postgresPort: number;
  readonly mailboxPort: number;
  readonly smtpPort: number;
  /** What links in mails start with. */
  readonly publicUrl: string;
  /** A database of the user's own: none is embedded then. */
  readonly databaseUrl: string | undefined;
  /** A mail server of the user's own: there is no mailbox then. */
  readonly smtpUrl: string | undefined;
}

/** What a link to a server on `host` says: this machine's name, unless it listens on one address that others know. The apps' own default is the same. */
function linkHost(host: string): string {
  if ([LOOPBACK, '0.0.0.0', '::', '::1', 'localhost'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/**
 * The stack's settings, from the environment and, where there is one, the
 * checkout's `.env` file.
 *
 * @throws Error that names the variable which cannot be used.
 */
export function readSettings(): StackSettings {
  const file = join(ROOT, '.env');
  if (existsSync(file)) process.loadEnvFile(file);
  return settingsOf(process.env);
}

/** The stack's settings in an environment. @throws Error that names the variable which cannot be used. */
export function settingsOf(environment: Readonly<Record<string, string | undefined>>): StackSettings {
  // An empty variable is an unset one, as it is for the apps.
  const read = (name: string) => environment[name] || undefined;
  const readPort = (name: string, fallback: number) => {
    const text = read(name);
    if (text === undefined) return fallback;
    const port = Number(text);
    if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new Error(`${name} must be a port between 1 and 65535, not "${text}"`);
    return port;
  };
  // Or in a file, as for the apps.
  const readSecret = (name: string) => {
    const file = read(`${name}_FILE`);
    return read(name) ?? (file === undefined ? undefined : readFileSync(file, 'utf8').trimEnd());
  };
  const host = read('HOST') ?? LOOPBACK;
  const httpPort = readPort('HTTP_PORT', 8080);
  return {
    dataDir: resolve(ROOT, read('DATA_DIR') ?? '.data'),
    host,
    linkHost: linkHost(host),
    httpPort,
    grpcPort: readPort('GRPC_PORT', 9090),
    consolePort: readPort('CONSOLE_PORT', 8081),
    workerHttpPort: readPort('WORKER_HTTP_PORT', 8082),
    metricsPort: readPort('METRICS_PORT', 8083),
    consolePassword: readSecret('CONSOLE_PASSWORD') === undefined ? DEVELOPMENT_CONSOLE_PASSWORD : undefined,
    postgresPort: readPort('POSTGRES_PORT', 54_329),
    mailboxPort: readPort('MAILBOX_PORT', 1080),
    smtpPort: readPort('SMTP_PORT', 1025),
    publicUrl: read('PUBLIC_URL')?.replace(/\/+$/, '') ?? `http://${linkHost(host)}:${httpPort}`,
    databaseUrl: readSecret('DATABASE_URL'),
    smtpUrl: readSecret('SMTP_URL'),
  };
}
