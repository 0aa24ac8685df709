import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { signal } from './processes.ts';
import { endWithThisProcess } from './watchdog.ts';

/** A Redis for a test run. */
export interface Redis {
  /** As REDIS_ADDRESS takes it. */
  readonly address: string;
  /** Ends it, unless it was there before us. */
  stop(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
const START_PATIENCE = 10_000;
const IMAGE = 'redis:7-alpine';
/** Nothing is kept, and nothing is evicted: a queue must not lose jobs to make room. */
const SETTINGS = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];

function onPath(...names: readonly string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
}

function ping(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: LOOPBACK, timeout: 1_000 }, () => socket.write('PING\r\n'));
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('data', (data) => settle(data.toString().startsWith('+PONG')));
    socket.once('timeout', () => settle(false));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
  });
}

async function answers(port: number, hasEnded: () => boolean = () => false): Promise<boolean> {
  const deadline = Date.now() + START_PATIENCE;
  while (!(await ping(port))) {
    if (hasEnded() || Date.now() > deadline) return false;
    await sleep(25);
  }
  return true;
}

/** Runs a server of this program on a free port, in a folder of its own. */
async function startServer(program: string): Promise<Redis> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'waybill-redis-'));
  const child = spawn(program, ['--port', String(port), '--bind', LOOPBACK, '--dir', folder, ...SETTINGS], {
    cwd: folder,
    detached: true,
    stdio: 'ignore',
  });
  const { pid } = child;
  let running = pid !== undefined;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const callOff = pid === undefined ? () => undefined : endWithThisProcess(pid, 'TERM');
  const lastResort = () => {
    if (running && pid !== undefined) signal(pid, 'SIGTERM');
  };
  process.once('exit', lastResort);
  void exited.then(() => {
    running = false;
    callOff();
    process.off('exit', lastResort);
  });
  const stop = async () => {
    for (const name of ['SIGTERM', 'SIGKILL'] as const) {
      if (!running || pid === undefined) break;
      signal(pid, name);
      await Promise.race([exited, sleep(5_000, undefined, { ref: false })]);
    }
    rmSync(folder, { recursive: true, force: true });
  };
  if (await answers(port, () => !running)) return { address: `${LOOPBACK}:${port}`, stop };
  await stop();
  throw new Error(`${program} did not start on port ${port}`);
}

/** Installs redis-server where we may: as root, on Debian and its kin. */
function install(say: (line: string) => void): string | undefined {
  const apt = onPath('apt-get');
  if (process.getuid?.() !== 0 || apt === undefined) return undefined;
  say('installing redis-server with apt-get');
  const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
  spawnSync(apt, ['update', '-qq'], options);
  spawnSync(apt, ['install', '-y', '-qq', '--no-install-recommends', 'redis-server'], options);
  return onPath('redis-server');
}

/** Runs a container, where there is a Docker engine. */
async function startContainer(): Promise<Redis | undefined> {
  const docker = onPath('docker');
  if (docker === undefined) return undefined;
  const port = await freePort();
  const { status, stdout } = spawnSync(
    docker,
    ['run', '--rm', '--detach', '--publish', `${LOOPBACK}:${port}:6379`, IMAGE, 'redis-server', ...SETTINGS],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  if (status !== 0) return undefined;
  const container = stdout.trim();
  const remove = () => void spawnSync(docker, ['rm', '--force', container], { stdio: 'ignore' });
  process.once('exit', remove);
  const stop = async () => {
    process.off('exit', remove);
    remove();
  };
  if (await answers(port)) return { address: `${LOOPBACK}:${port}`, stop };
  await stop();
  return undefined;
}

/**
 * A Redis for the tests: the one at REDIS_ADDRESS, a private server of the
 * program on PATH, one that apt-get installs, or a container; undefined where
 * there is none of these.
 */
export async function startRedis(say: (line: string) => void = () => undefined): Promise<Redis | undefined> {
  const given = process.env.REDIS_ADDRESS;
  if (given) return { address: given, stop: async () => undefined };
  const program = onPath('redis-server', 'valkey-server') ?? install(say);
  return program === undefined ? startContainer() : startServer(program);
}
