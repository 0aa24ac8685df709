import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { print, say } from './output.ts';
import { signal } from './processes.ts';
import { ROOT } from './settings.ts';

/** A process of the stack. */
export interface ServiceOptions {
  readonly name: string;
  /** What Node runs, relative to the checkout. */
  readonly entry: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Is told the pid of every process that is started for it. */
  readonly onStart: (pid: number) => void;
}

const LONGEST_PAUSE = 10_000;
/** A process that lived this long was well: its next end starts the pauses anew. */
const WELL_AFTER = 30_000;

/** An app as a process of its own; once it has been well, it is started again whenever it ends by itself. */
export class Service {
  readonly #options: ServiceOptions;
  readonly #ended = Promise.withResolvers<never>();
  #child: ChildProcess | undefined;
  #kept = false;
  #stopping = false;
  #pause = 0;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#ended.promise.catch(() => undefined);
    process.once('exit', this.#kill);
    this.#start();
  }

  /** Rejects when the process ends before `keep` was called: there is something to be put right first. */
  get ended(): Promise<never> {
    return this.#ended.promise;
  }

  /** From now on the process is started again when it ends by itself. */
  keep(): void {
    this.#kept = true;
  }

  /** Asks the process to end, once, and after `patience` milliseconds makes it. */
  async stop(patience: number): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const exit = new Promise((resolve) => child.once('exit', resolve));
      signal(child.pid, 'SIGTERM');
      const late = await Promise.race([exit.then(() => false), sleep(patience, true, { ref: false })]);
      if (late) {
        say(`the ${this.#options.name} did not end within ${patience / 1000} s: killing it`);
        this.#kill();
        await exit;
      }
    }
    process.off('exit', this.#kill);
  }

  /** At once, with whatever it has started: its pid names its process group. */
  readonly #kill = (): void => {
    const child = this.#child;
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) signal(-child.pid, 'SIGKILL');
  };

  #start(): void {
    const { name, entry, environment, onStart } = this.#options;
    const startedAt = Date.now();
    // Its own process group: a ctrl-c at the terminal reaches only us, and the app gets its one SIGTERM in its turn.
    const child = spawn(process.execPath, ['--enable-source-maps', entry], {
      cwd: ROOT,
      detached: true,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    if (child.pid !== undefined) onStart(child.pid);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => print(name, line));
    }
    child.once('error', (error) => this.#ended.reject(error));
    child.once('exit', (code, killedBy) => void this.#onExit(killedBy ?? `code ${code}`, Date.now() - startedAt));
  }

  async #onExit(how: string, lifetime: number): Promise<void> {
    if (this.#stopping) return;
    const { name } = this.#options;
    if (!this.#kept) {
      this.#ended.reject(new Error(`the ${name} ended (${how}) before it was ready`));
      return;
    }
    this.#pause = lifetime > WELL_AFTER ? 1_000 : Math.min(this.#pause * 2 || 1_000, LONGEST_PAUSE);
    say(`the ${name} ended by itself (${how}): starting it again in ${this.#pause / 1000} s`);
    await sleep(this.#pause);
    if (!this.#stopping) this.#start();
  }
}
