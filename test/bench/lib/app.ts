import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ROOT } from '../../../scripts/stack/settings.ts';
import { now } from './clock.ts';

const PATIENCE = 30_000;
const TICKS_PER_SECOND = 100;

/** A process of the product, or of an anchor, run as it is in production. */
export class App implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #startedAt = now();

  constructor(entry: string, environment: Readonly<Record<string, string>>, flags: readonly string[] = ['--enable-source-maps']) {
    this.#child = spawn(process.execPath, [...flags, join(ROOT, entry)], {
      cwd: '/',
      env: { PATH: process.env['PATH'], ...environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  /** Milliseconds from the start of the process until a line of its output holds the text. */
  async says(text: string): Promise<number> {
    let output = '';
    return this.#until(
      new Promise((resolve) => {
        this.#child.stdout!.on('data', (chunk) => {
          output += String(chunk);
          if (output.includes(text)) resolve();
        });
      }),
    );
  }

  /** Milliseconds from the start of the process until it listens on a port. */
  async listensOn(port: number): Promise<number> {
    this.#child.stdout!.resume();
    return this.#until(
      (async () => {
        while (!(await accepts(port))) await wait(5);
      })(),
    );
  }

  /** The memory that is this process's own, in MiB: what it shares with others, such as Node's own pages, is counted in part. */
  get memory(): number {
    const text = readFileSync(`/proc/${this.#child.pid}/smaps_rollup`, 'utf8');
    return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1]) / 1_024;
  }

  /** Seconds of processor time so far, of all of its threads. */
  get cpuSeconds(): number {
    return cpuSecondsOf(this.#child.pid!);
  }

  async #until(event: Promise<void>): Promise<number> {
    const ended = new Promise<never>((_, reject) =>
      this.#child.once('exit', (code) => reject(new Error(`the process ended with ${code}`))),
    );
    const late = wait(PATIENCE, undefined, { ref: false }).then(() => Promise.reject(new Error('the process was not ready in time')));
    await Promise.race([event, ended, late]);
    return now() - this.#startedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** Seconds of processor time of a process; 0 where there is no /proc. */
export function cpuSecondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}
