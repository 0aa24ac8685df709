import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { endWithThisProcess } from '../../scripts/stack/watchdog.ts';
import { eventually } from './eventually.js';
import { freePort } from '../../scripts/stack/ports.ts';

const program = ['redis-server', 'valkey-server'].find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);

/** Whether this machine has a Redis that a test may kill. */
export const hasPrivateRedis = program !== undefined;

/** A Redis of one test's own, to be killed and started again at the same address; it keeps nothing. */
export class PrivateRedis {
  private child: ChildProcess | undefined;

  private constructor(private readonly port: number) {}

  /** Only chooses the address: nobody listens there yet. */
  static async reserve(): Promise<PrivateRedis> {
    return new PrivateRedis(await freePort());
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
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
    const child = spawn(program!, args, { cwd: tmpdir(), stdio: 'ignore' });
    child.once('exit', endWithThisProcess(child.pid!, 'TERM'));
    this.child = child;
    await eventually(() => this.answers());
  }

  /** Kills it, with all that it holds. */
  async kill(): Promise<void> {
    const { child } = this;
    if (!child) return;
    this.child = undefined;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  private answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => socket.write('PING\r\n'));
      socket.once('data', (data) => {
        socket.destroy();
        resolve(data.toString().startsWith('+PONG'));
      });
      socket.once('error', () => resolve(false));
    });
  }
}
