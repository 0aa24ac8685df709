import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endProcess, identify, isRunning, parentOf, type ProcessIdentity } from './processes.ts';

/** What a run of the stack has written down about itself. */
interface Run {
  readonly supervisor: ProcessIdentity & { readonly parent: number };
  readonly children: Readonly<Record<string, ProcessIdentity>>;
}

const SHUTDOWN_PATIENCE = 15_000;

/**
 * The record of a running stack in its data directory: which processes are
 * its own, so that the next start can end what a hard kill left, and only that.
 */
export class RunFile {
  readonly #path: string;
  #run: Run;

  private constructor(path: string) {
    this.#path = path;
    const self = identify(process.pid) ?? { pid: process.pid, startedAt: '' };
    this.#run = { supervisor: { ...self, parent: process.ppid }, children: {} };
    this.#write();
  }

  /**
   * Ends the leftovers of an earlier run in this directory, and opens a record of this one.
   *
   * @throws Error when the earlier run is not a leftover but alive and well.
   */
  static async open(dataDir: string, say: (line: string) => void): Promise<RunFile> {
    mkdirSync(dataDir, { recursive: true });
    const path = join(dataDir, 'run.json');
    if (existsSync(path)) await endLeftovers(path, dataDir, say);
    return new RunFile(path);
  }

  /** Notes that the child of this name is now the process `pid`. */
  note(name: string, pid: number): void {
    const identity = identify(pid);
    if (!identity) return;
    this.#run = { ...this.#run, children: { ...this.#run.children, [name]: identity } };
    this.#write();
  }

  /** Everything has ended: there is nothing to clean up. */
  close(): void {
    rmSync(this.#path, { force: true });
  }

  #write(): void {
    const unfinished = `${this.#path}.${process.pid}`;
    writeFileSync(unfinished, JSON.stringify(this.#run));
    renameSync(unfinished, this.#path);
  }
}

async function endLeftovers(path: string, dataDir: string, say: (line: string) => void): Promise<void> {
  const { supervisor, children } = JSON.parse(readFileSync(path, 'utf8')) as Run;
  if (isRunning(supervisor)) {
    // Somebody's terminal, unless what had started it is gone: a make that was killed leaves it alone.
    if (parentOf(supervisor.pid) === supervisor.parent) {
      throw new Error(`${dataDir} is in use: process ${supervisor.pid} is running the stack there; end that one first, or set DATA_DIR`);
    }
    say(`ending the stack of a killed make (process ${supervisor.pid})`);
    await endProcess(supervisor, ['SIGTERM', 'SIGKILL'], SHUTDOWN_PATIENCE);
    await sleep(50);
  }
  await Promise.all(
    Object.entries(children).map(async ([name, child]) => {
      if (!isRunning(child)) return;
      say(`ending the ${name} that a hard kill left behind (process ${child.pid})`);
      await endProcess(child, ['SIGTERM', 'SIGKILL'], SHUTDOWN_PATIENCE);
    }),
  );
}
