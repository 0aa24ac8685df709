import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The top of the checkout. */
export const ROOT = resolve(import.meta.dirname, '../..');

/** What the development stack reads from the environment beside what the apps read. */
export interface StackSettings {
  /** Where the embedded database, the caught mail and the record of running processes live. */
  readonly dataDir: string;
  readonly host: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly postgresPort: number;
  readonly mailboxPort: number;
  readonly smtpPort: number;
  /** A database of the user's own: none is embedded then. */
  readonly databaseUrl: string | undefined;
  /** A mail server of the user's own: there is no mailbox then. */
  readonly smtpUrl: string | undefined;
}

/** An empty variable is an unset one, as it is for the apps. */
function read(name: string): string | undefined {
  return process.env[name] || undefined;
}

function readPort(name: string, fallback: number): number {
  const text = read(name);
  if (text === undefined) return fallback;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new Error(`${name} must be a port between 1 and 65535, not "${text}"`);
  return port;
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
  return {
    dataDir: resolve(ROOT, read('DATA_DIR') ?? '.data'),
    host: read('HOST') ?? '127.0.0.1',
    httpPort: readPort('HTTP_PORT', 8080),
    grpcPort: readPort('GRPC_PORT', 9090),
    postgresPort: readPort('POSTGRES_PORT', 54_329),
    mailboxPort: readPort('MAILBOX_PORT', 1080),
    smtpPort: readPort('SMTP_PORT', 1025),
    databaseUrl: read('DATABASE_URL'),
    smtpUrl: read('SMTP_URL'),
  };
}
