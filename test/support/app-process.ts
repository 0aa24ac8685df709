import { type ChildProcess, spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { endWithThisProcess } from '../../scripts/stack/watchdog.ts';
import { eventually } from './eventually.js';

const ROOT = join(import.meta.dirname, '../..');

/** The compiled programs, as they are deployed. */
const PROGRAMS = {
  api: 'dist/api.js',
  worker: 'dist/worker.js',
  tasks: 'dist/tasks.js',
  user: 'dist/user.js',
  migrate: 'dist/migrate.js',
} as const;

export type Program = keyof typeof PROGRAMS;

/** What makes a program's clock wrong by so many milliseconds, until it gets a SIGCONT. */
export const withClockShiftedBy = (milliseconds: number) => ({
  NODE_OPTIONS: `--import=${join(import.meta.dirname, 'shifted-clock.mjs')}`,
  CLOCK_SHIFT: String(milliseconds),
});

/** What makes a program's event loop stand still for so many milliseconds when it gets a SIGCONT. */
export const withLoopBlockedFor = (milliseconds: number) => ({
  NODE_OPTIONS: `--import=${join(import.meta.dirname, 'blocked-loop.mjs')}`,
  LOOP_BLOCKED: String(milliseconds),
});

/** A line that an app has logged. */
export interface LogLine {
  readonly app: string;
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The level numbers of pino. */
export const WARN = 40;
export const ERROR = 50;

/** A program of ours, run as a process, with everything that it prints. */
export class AppProcess {
  /** All that it printed, on both streams. */
  output = '';
  /** The log lines among it. */
  readonly lines: LogLine[] = [];
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  private readonly child: ChildProcess;

  constructor(
    readonly program: Program,
    environment: Readonly<Record<string, string>>,
    args: readonly string[] = [],
  ) {
    // Neither our environment nor a developer's .env file may decide anything: an app reads the one of its working directory.
    this.child = spawn(process.execPath, [join(ROOT, PROGRAMS[program]), ...args], {
      cwd: tmpdir(),
      env: { PATH: process.env['PATH'] ?? '', NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { pid, stdout, stderr } = this.child;
    if (pid === undefined || !stdout || !stderr) throw new Error(`${program} could not be started`);
    stderr.on('data', (chunk) => (this.output += String(chunk)));
    createInterface({ input: stdout }).on('line', (line) => this.read(line));
    const callOff = endWithThisProcess(pid, 'TERM');
    this.exited = new Promise((resolve) => {
      // Not `exit`: what it printed last must have come in.
      this.child.once('close', (code, signal) => {
        callOff();
        resolve(code ?? signal ?? 1);
      });
    });
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Ends it at once, as a crash does. */
  crash(): void {
    this.child.kill('SIGKILL');
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Asks it to end. @returns its exit code. @throws when that takes longer than `within` milliseconds. */
  async stop(within = 20_000, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    this.child.kill(signal);
    return this.end(within);
  }

  /** Waits until it has ended by itself. @returns its exit code. */
  async end(within = 20_000): Promise<number | NodeJS.Signals> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.program} did not end within ${within} ms:\n${this.output}`)), within);
    });
    return Promise.race([this.exited, late]).finally(() => clearTimeout(timer));
  }

  /** Waits for a line that fits. */
  async line(fits: (line: LogLine) => boolean, within = 30_000): Promise<LogLine> {
    try {
      return await eventually(() => this.lines.find(fits), within);
    } catch (cause) {
      throw new Error(`${this.program} has logged no such line:\n${fits.toString()}\n${this.output}`, { cause });
    }
  }

  private read(line: string): void {
    this.output += `${line}\n`;
    if (line.startsWith('{"level":')) this.lines.push(JSON.parse(line) as LogLine);
  }
}
