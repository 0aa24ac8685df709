import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { endWithThisProcess } from '../../scripts/stack/watchdog.ts';
import { eventually } from './eventually.js';
import { freePort } from '../../scripts/stack/ports.ts';

/** The server that this machine has. */
export const redisProgram = ['redis-server', 'valkey-server'].find(
  (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
);

/** Whether this machine has a Redis that a test may kill. */
export const hasPrivateRedis = redisProgram !== undefined;

/** A Redis of one test's own, to be killed and started again at the same address; it keeps nothing. */
export class PrivateRedis {
  private child: ChildProcess | undefined;
  private operator: Redis | undefined;
  private readonly folder = mkdtempSync(join(tmpdir(), 'waybill-redis-'));

  private constructor(readonly port: number) {}

  /** Only chooses the address: nobody listens there yet. */
  static async reserve(): Promise<PrivateRedis> {
    return new PrivateRedis(await freePort());
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Has an operator's say. */
  async ask(...command: [string, ...(string | number)[]]): Promise<unknown> {
    this.operator ??= new Redis(this.port, '127.0.0.1').on('error', () => undefined);
    return this.operator.call(...command);
  }

  get host(): string {
    return '127.0.0.1';
  }

  /** Has it run a script that ends with `SCRIPT KILL`. */
  async occupy(): Promise<void> {
    const client = new Redis(this.port, this.host).on('error', () => undefined);
    await client.eval('while true do end', 0).catch(() => undefined);
    client.disconnect();
  }

  /** Has it be unable to save itself, as on a full disk. */
  loseDisk(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  async start(): Promise<void> {
    mkdirSync(this.folder, { recursive: true });
    const args = [
      '--port',
      String(this.port),
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'no',
      '--maxmemory-policy',
      'noeviction',
    ];
    const child = spawn(redisProgram!, args, { cwd: this.folder, stdio: 'ignore' });
    child.once('exit', endWithThisProcess(child.pid!, 'TERM'));
    this.child = child;
    const ended = once(child, 'exit').then(() => Promise.reject(new Error(`redis-server has ended: is port ${this.port} taken?`)));
    await Promise.race([ended, eventually(() => this.answers())]);
  }

  /** Kills it, with all that it holds. */
  async kill(): Promise<void> {
    const { child } = this;
    this.operator?.disconnect();
    this.operator = undefined;
    if (!child) return;
    this.child = undefined;
    child.kill('SIGKILL');
    await once(child, 'exit');
    this.loseDisk();
  }

  private answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => socket.write('PING\r\n'));
      socket.once('data', (data) => {
        socket.destroy();
        resolve(data.toString().startsWith('+PONG'));
      });
      // What an error ends is closed as well.
      socket.on('error', () => undefined).once('close', () => resolve(false));
    });
  }
}
