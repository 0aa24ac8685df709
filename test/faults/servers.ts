import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../../scripts/stack/ports.ts';
import { type Postgres, startPostgres, superuserUrl } from '../../scripts/stack/postgres.ts';
import { endWithThisProcess } from '../../scripts/stack/watchdog.ts';
import { ROOT } from './app-process.ts';

/** An embedded Postgres with a migrated template, from which each system under test gets a database of its own. */
export class PostgresServer {
  private server: Postgres;
  private readonly dataDir: string;
  private readonly maxConnections: number;
  private databases = 0;

  private constructor(server: Postgres, dataDir: string, maxConnections: number) {
    this.server = server;
    this.dataDir = dataDir;
    this.maxConnections = maxConnections;
  }

  static async start(maxConnections = 400): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), 'waybill-faults-'));
    chmodSync(folder, 0o755);
    const dataDir = join(folder, 'data');
    const server = await startPostgres({ dataDir, port: await freePort(), maxConnections });
    const self = new PostgresServer(server, dataDir, maxConnections);
    self.watch();
    await promisify(execFile)(process.execPath, ['dist/migrate.js'], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, DATABASE_URL: server.url },
    });
    return self;
  }

  get url(): string {
    return this.server.url;
  }

  /** A new database with everything migrated. @returns its URL. */
  async createDatabase(): Promise<string> {
    const name = `faults_${++this.databases}`;
    await this.run(`CREATE DATABASE ${name} OWNER waybill TEMPLATE waybill`);
    return this.url.replace(/\w+$/, name);
  }

  async dropDatabase(url: string): Promise<void> {
    await this.run(`DROP DATABASE IF EXISTS ${new URL(url).pathname.slice(1)} WITH (FORCE)`);
  }

  /** Stops the server at once, and starts it again on the same port after `pause` milliseconds. */
  async restart(pause: number): Promise<void> {
    const port = Number(new URL(this.url).port);
    await this.server.stop();
    await sleep(pause);
    this.server = await startPostgres({ dataDir: this.dataDir, port, maxConnections: this.maxConnections });
    this.watch();
  }

  /** Has the server and all its processes stand still for `duration` milliseconds, with everything that is sent to them waiting. */
  async standStill(duration: number): Promise<void> {
    const postmaster = this.pid!;
    const stopped = [postmaster];
    // First, so that it begins no other.
    process.kill(postmaster, 'SIGSTOP');
    try {
      const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=']);
      for (const line of stdout.trim().split('\n')) {
        const [pid, parent] = line.trim().split(/\s+/).map(Number);
        if (parent === postmaster && signal(pid!, 'SIGSTOP')) stopped.push(pid!);
      }
      await sleep(duration);
    } finally {
      for (const pid of stopped.toReversed()) signal(pid, 'SIGCONT');
    }
  }

  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(join(this.dataDir, '..'), { recursive: true, force: true });
  }

  /** Should this process be killed, the server goes with it. */
  private watch(): void {
    if (this.pid === undefined) return;
    const callOff = endWithThisProcess(this.pid, 'INT');
    void this.server.exited.then(callOff);
  }

  private get pid(): number | undefined {
    const file = join(this.dataDir, 'postmaster.pid');
    return existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : undefined;
  }

  private async run(sql: string): Promise<void> {
    const client = new pg.Client({ connectionString: superuserUrl(this.url.replace(/\w+$/, 'postgres')).href });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  }
}

/** A private Redis that can be killed and started again on its port, empty as after the loss of its disk. */
export class RedisServer {
  private child: ChildProcess | undefined;
  private callOff: () => void = () => undefined;
  private readonly program: string;
  private readonly port: number;
  private readonly folder = mkdtempSync(join(tmpdir(), 'waybill-faults-redis-'));
  private client: Redis | undefined;

  private constructor(program: string, port: number) {
    this.program = program;
    this.port = port;
    process.once('exit', this.killNow);
  }

  /** @returns undefined where there is no redis-server on PATH. */
  static async start(): Promise<RedisServer | undefined> {
    const folders = (process.env.PATH ?? '').split(delimiter);
    const program = ['redis-server', 'valkey-server'].flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
    if (program === undefined) return undefined;
    const server = new RedisServer(program, await freePort());
    await server.launch();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** For what the test itself has to ask or tell. */
  get admin(): Redis {
    return (this.client ??= new Redis({ port: this.port, host: '127.0.0.1', lazyConnect: false }).on('error', () => undefined));
  }

  async launch(): Promise<void> {
    const settings = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction', '--maxclients', '2000'];
    const child = spawn(this.program, ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder, ...settings], {
      detached: true,
      stdio: 'ignore',
    });
    this.child = child;
    if (child.pid !== undefined) this.callOff = endWithThisProcess(child.pid, 'TERM');
    await this.admin.ping();
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    this.callOff();
  }

  async stop(): Promise<void> {
    this.client?.disconnect();
    await this.kill();
    process.off('exit', this.killNow);
    rmSync(this.folder, { recursive: true, force: true });
  }

  private readonly killNow = (): void => void this.child?.kill('SIGKILL');
}

/** @returns whether there is such a process. */
function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
    return false;
  }
}
