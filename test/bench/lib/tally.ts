import { now } from './clock.ts';

/** What a run of tasks delivered. Times are of {@link now}. */
export interface Delivered {
  /** When the last task was done. */
  endedAt: number;
  /** Tasks that were run, repeats included. */
  runs: number;
  /** Different tasks that were run. */
  unique: number;
  /** When each task's handler started, by its number. */
  startedAt: number[];
  /** The queue of every start, in order, where asked for: 1 for the first queue. */
  order: number[];
}

/** Counts what is delivered in a run: every task once, and none twice. */
export class Tally {
  #startedAt: Float64Array = new Float64Array(0);
  #order: number[] = [];
  #runs = 0;
  #unique = 0;
  #done = 0;
  #count = 0;
  #finished: PromiseWithResolvers<number> | undefined;
  /** The numbers that were run out of a backlog, in all runs. */
  readonly #ofBacklog = new Set<number>();

  /** Begins a run of tasks with the numbers 0 to count - 1; resolves when that many are done. */
  async expect(count: number): Promise<Delivered> {
    this.#startedAt = new Float64Array(count);
    this.#order = [];
    this.#runs = this.#unique = this.#done = 0;
    this.#count = count;
    this.#finished = Promise.withResolvers<number>();
    const endedAt = await this.#finished.promise;
    return { endedAt, runs: this.#runs, unique: this.#unique, startedAt: [...this.#startedAt], order: this.#order };
  }

  /** Begins a run out of a backlog, with whatever numbers; resolves, with the time, when `count` tasks are done. More may follow. */
  expectSome(count: number): Promise<number> {
    this.#startedAt = new Float64Array(0);
    this.#runs = this.#unique = this.#done = 0;
    this.#count = count;
    this.#finished = Promise.withResolvers<number>();
    return this.#finished.promise;
  }

  /** What has been run since the last `expect` or `expectSome`. */
  get counts(): { runs: number; unique: number; done: number } {
    return { runs: this.#runs, unique: this.#unique, done: this.#done };
  }

  /** A handler has started. */
  started(number: number, queue?: number): void {
    this.#runs += 1;
    if (queue !== undefined) this.#order.push(queue);
    if (number >= this.#startedAt.length) {
      if (this.#ofBacklog.has(number)) return;
      this.#ofBacklog.add(number);
      this.#unique += 1;
      return;
    }
    if (this.#startedAt[number] !== 0) return;
    this.#startedAt[number] = now();
    this.#unique += 1;
  }

  /** A task is done, as far as its engine is concerned. */
  done(): void {
    this.#done += 1;
    if (this.#done === this.#count) this.#finished?.resolve(now());
  }
}

/** @throws Error unless every task was delivered, and none twice. */
export function assertExact(what: string, { runs, unique }: Pick<Delivered, 'runs' | 'unique'>, count: number): void {
  if (runs !== count || unique !== count) throw new Error(`${what}: ${count} tasks, but ${runs} runs of ${unique} different ones`);
}
