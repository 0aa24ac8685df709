import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * One side of a comparison, as a process of its own: both sides then have a
 * heap, a warm compiler and an event loop that the other does not touch.
 */

interface Question {
  id: number;
  method: string;
  argument: unknown;
}

interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}

/** What a contestant can be asked to do. */
export type Methods = Record<string, (argument: never) => unknown>;

/** The child's side: answers what {@link Contestant.ask} asks, until the parent lets it go. */
export function answer(methods: Methods): void {
  process.on('message', ({ id, method, argument }: Question) => {
    const send = (reply: Omit<Answer, 'id'>) => process.send!({ id, ...reply });
    void (async () => {
      try {
        const handler = methods[method];
        if (!handler) throw new Error(`no method "${method}"`);
        send({ value: await handler(argument as never) });
      } catch (error) {
        send({ error: (error as Error).stack ?? String(error) });
      }
    })();
  });
  // Also when the parent was killed: nothing of a benchmark outlives it.
  process.once('disconnect', () => process.exit(0));
  process.send!({ id: 0 });
}

/** The parent's side. */
export class Contestant implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #open = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, value, error }: Answer) => {
      const waiting = this.#open.get(id);
      this.#open.delete(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(new Error(error));
    });
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#open.values()) reject(new Error(`the contestant ended: ${signal ?? `code ${code}`}`));
    });
  }

  /** Starts `processes/<name>.ts` and waits until it is ready to be asked. */
  static async start(name: string, environment: Readonly<Record<string, string>> = {}): Promise<Contestant> {
    const child = fork(fileURLToPath(new URL(`../processes/${name}.ts`, import.meta.url)), [], {
      // BENCH_NODE_OPTIONS is for those who look into it, with --cpu-prof for instance.
      env: {
        PATH: process.env['PATH'] ?? '',
        NODE_ENV: 'production',
        NODE_OPTIONS: process.env['BENCH_NODE_OPTIONS'] ?? '',
        ...environment,
      },
      execArgv: ['--enable-source-maps'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    const contestant = new Contestant(child);
    const ready = Promise.withResolvers<unknown>();
    contestant.#open.set(0, ready);
    await ready.promise;
    return contestant;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async ask<Reply>(method: string, argument: unknown = {}): Promise<Reply> {
    const id = ++this.#asked;
    const reply = Promise.withResolvers<unknown>();
    this.#open.set(id, reply);
    this.#child.send({ id, method, argument } satisfies Question);
    return reply.promise as Promise<Reply>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    // It ends when it is let go; the product's own, orderly way out is no part of a measurement.
    this.#child.disconnect();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(late);
  }
}
