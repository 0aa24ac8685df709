import type { Figure } from './figure.ts';
import type { Stack } from './stack.ts';

/** What every work is given. */
export interface Bench {
  readonly stack: Stack;
  readonly pairs: number;
  /** Shrinks a number of tasks for a quick look. */
  count(whole: number): number;
  /** Also what takes minutes, such as a million waiting tasks. */
  readonly full: boolean;
  /** Tells what goes on. */
  say(line: string): void;
}

/** One row of the table. */
export interface Work {
  readonly name: string;
  run(bench: Bench, resources: AsyncDisposableStack): Promise<Figure[]>;
}
