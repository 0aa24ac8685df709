import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync, type WriteStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { History } from './history.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const START_PATIENCE = 60_000;
/** The longest that a process may take to end once it was asked: its shutdown timeout of 10 s, and a little. */
const STOP_PATIENCE = 20_000;

/** How to run one process of the system under test. */
export interface AppOptions {
  readonly name: string;
  /** What Node runs, relative to the checkout. */
  readonly entry: string;
  readonly environment: Readonly<Record<string, string>>;
  /** A line of its output that says it is ready. */
  readonly ready: RegExp;
  readonly history: History;
  readonly logFile: string;
}

/** A process of the system under test: what it prints goes into the history and a file, and its end is noticed. */
export class AppProcess {
  readonly name: string;
  private readonly options: AppOptions;
  private readonly log: WriteStream;
  private child: ChildProcess | undefined;
  private exit: Promise<string> = Promise.resolve('never started');
  private expectingExit = false;
  private readyLine = Promise.withResolvers<void>();
  private onMessage: (message: unknown) => void = () => undefined;
  /** A fault point was passed that struck; each start begins anew. */
  struck = false;

  constructor(options: AppOptions) {
    this.name = options.name;
    this.options = options;
    mkdirSync(dirname(options.logFile), { recursive: true });
    this.log = createWriteStream(options.logFile, { flags: 'a' });
    process.once('exit', this.killNow);
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Starts it, and resolves when it says that it is ready. */
  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const { entry, history, name } = this.options;
    this.readyLine = Promise.withResolvers();
    this.readyLine.promise.catch(() => undefined);
    this.expectingExit = false;
    this.struck = false;
    const child = spawn(process.execPath, [entry], {
      cwd: ROOT,
      env: { ...baseEnvironment(), ...this.options.environment, ...environment },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.child = child;
    child.on('message', (message) => this.onMessage(message));
    child.on('error', () => undefined);
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream! }).on('line', (line) => this.read(line));
    const pid = child.pid ?? 0;
    history.add({ kind: 'process', name, pid, what: 'started' });
    this.exit = new Promise((resolve) => {
      child.once('exit', (code, killedBy) => {
        const how = killedBy ?? `code ${code}`;
        history.add({ kind: 'process', name, pid, what: 'exited', how, expected: this.expectingExit });
        this.readyLine.reject(new Error(`the ${name} ended (${how}) before it was ready; see ${this.options.logFile}`));
        resolve(how);
      });
    });
    let patience: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      patience = setTimeout(() => reject(new Error(`the ${name} was not ready in time; see ${this.options.logFile}`)), START_PATIENCE);
    });
    await Promise.race([this.readyLine.promise, tooLate]).finally(() => clearTimeout(patience));
  }

  /** From now on its end is what the test wants. */
  expectExit(): void {
    this.expectingExit = true;
  }

  /** Resolves with how it ended. */
  get ended(): Promise<string> {
    return this.exit;
  }

  signal(name: NodeJS.Signals): void {
    if (!this.isRunning) return;
    if (name === 'SIGKILL' || name === 'SIGTERM') this.expectingExit = true;
    this.child?.kill(name);
    const what = name === 'SIGSTOP' ? 'stopped' : name === 'SIGCONT' ? 'continued' : undefined;
    if (what) this.options.history.add({ kind: 'process', name: this.name, pid: this.pid, what });
  }

  /** Asks it to end, and makes it when it does not; false when it had to be made, or ended with an error. */
  async stop(): Promise<boolean> {
    if (!this.isRunning) return true;
    // A process that still loads its code has no say yet in how it ends.
    await Promise.race([this.readyLine.promise.catch(() => undefined), this.exit, sleep(STOP_PATIENCE)]);
    this.signal('SIGTERM');
    const how = await Promise.race([this.exit, sleep(STOP_PATIENCE, 'too late', { ref: false })]);
    if (how === 'too late') {
      this.signal('SIGKILL');
      await this.exit;
    }
    return how === 'code 0';
  }

  send(message: object): void {
    if (this.child?.connected) this.child.send(message, () => undefined);
  }

  listen(onMessage: (message: unknown) => void): void {
    this.onMessage = onMessage;
  }

  /** Whether it is stopped by SIGSTOP. */
  isStopped(): boolean {
    return stateOf(this.pid) === 'T';
  }

  close(): void {
    process.off('exit', this.killNow);
    this.log.end();
  }

  private readonly killNow = (): void => {
    if (this.isRunning) this.child?.kill('SIGKILL');
  };

  private read(line: string): void {
    this.log.write(`${line}\n`);
    if (this.options.ready.test(line)) this.readyLine.resolve();
    if (!line.startsWith('{')) return;
    try {
      this.record(JSON.parse(line) as Record<string, unknown>);
    } catch {
      // A line that only looks like JSON.
    }
  }

  private record(entry: Record<string, unknown>): void {
    const { history, name } = this.options;
    if (typeof entry['fault'] === 'string') {
      this.struck = true;
      if (entry['action'] === 'kill' || entry['action'] === 'term') this.expectingExit = true;
      history.add({ kind: 'fault', what: `${entry['fault']}:${String(entry['action'])} in ${name}`, phase: 'begin' });
      return;
    }
    if (typeof entry['started'] === 'string') {
      const { started: task, run, attempt, pid, at } = entry as { started: string; run: string; attempt: number; pid: number; at: number };
      history.add({ kind: 'started', task, run, attempt, pid }, at);
      return;
    }
    const outcome = OUTCOMES[String(entry['msg'])];
    if (!outcome) return;
    const { taskId, attempt, moot, time } = entry as { taskId: string; attempt: number; moot?: string; time: number };
    history.add({ kind: 'attempt', task: taskId, outcome: moot === undefined ? outcome : 'moot', attempt, pid: this.pid }, time);
  }
}

/** The lines of the workers' log that tell how an attempt ended. */
const OUTCOMES: Readonly<Record<string, 'completed' | 'failed' | 'buried'>> = {
  'task completed': 'completed',
  'task attempt failed': 'failed',
  'task buried': 'buried',
};

/** Nothing of the developer's own configuration reaches the system under test. */
function baseEnvironment(): Record<string, string> {
  const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '', TMPDIR } = process.env;
  return { PATH, HOME, NODE_COMPILE_CACHE, ...(TMPDIR !== undefined && { TMPDIR }) };
}

/** The state of a process as `ps` spells it, `T` when it is stopped. */
function stateOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return spawnSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()[0];
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2];
  } catch {
    return undefined;
  }
}

/** Memory and open files of a running process; undefined where there is no /proc. */
export function footprintOf(pid: number): { rss: number; files: number } | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    const files = Number(
      spawnSync('ls', [join('/proc', String(pid), 'fd')], { encoding: 'utf8' })
        .stdout.trim()
        .split('\n').length,
    );
    return { rss: Number(kilobytes) * 1024, files };
  } catch {
    return undefined;
  }
}
