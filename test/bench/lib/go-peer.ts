import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT } from '../../../scripts/stack/settings.ts';

/** What a Go program is told; see its `main.go`. */
export interface GoRun {
  count: number;
  producers: number;
  /** For asynq 0: its own default. */
  concurrency: number;
  transaction: boolean;
}

export interface GoAnswer {
  seconds: number;
  runs: number;
  unique: number;
}

/** A peer that is written in Go, asynq or River, as a process. */
export class GoPeer implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** Builds the program and starts it. @returns undefined where it cannot be built, having said so. */
  static async start(
    name: 'asynq' | 'river',
    environment: Readonly<Record<string, string>>,
    say: (line: string) => void,
  ): Promise<GoPeer | undefined> {
    const folder = join(ROOT, '.data/bench');
    mkdirSync(folder, { recursive: true });
    const program = join(folder, `${name}-bench`);
    try {
      execFileSync('go', ['build', '-o', program, '.'], { cwd: join(ROOT, 'test/bench', name), stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      const { code, stderr } = error as { code?: string; stderr?: Buffer };
      const reason = code === 'ENOENT' ? 'there is no Go here' : `it does not build: ${String(stderr).trim()}`;
      say(`NOT RUN: everything beside ${name}, because ${reason}`);
      return undefined;
    }
    const child = spawn(program, { env: { PATH: process.env['PATH'], ...environment }, stdio: ['pipe', 'pipe', 'inherit'] });
    const peer = new GoPeer(child);
    await peer.#line();
    return peer;
  }

  async run(command: GoRun): Promise<GoAnswer> {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    return JSON.parse(await this.#line()) as GoAnswer;
  }

  async #line(): Promise<string> {
    const { value, done } = (await this.#lines.next()) as { value: string; done?: boolean };
    if (done) throw new Error('the Go program ended');
    return value;
  }

  /** It ends when there is nothing more to read. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}
