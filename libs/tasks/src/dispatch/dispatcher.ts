import type { WorkerOptions } from 'bullmq';
import type { Loop } from '../loop.js';

/** Where a worker of BullMQ finds the jobs of its queue. */
export type WorkerStore = Pick<WorkerOptions, 'connection' | 'prefix'>;

/** Hands the ledger's tasks to the workers of BullMQ: the ledger itself does so, or Redis. */
export abstract class Dispatcher {
  abstract readonly name: 'ledger' | 'redis';

  /** The name under which this process fetches jobs, where the store knows no better who holds one. */
  abstract readonly claimant: string | undefined;

  /** Called when this process was taken for dead, and others run what it runs. */
  onLost: () => void = () => undefined;

  /** Whether a slot holds, or waits for, the job that is fetched under a token; true for other processes' tokens, of which it knows nothing. */
  isHeld: (token: string) => boolean = () => true;

  /** Where the worker of a queue finds its jobs. */
  abstract storeOf(queue: string): WorkerStore;

  /** Resolves when workers may ask for tasks. */
  abstract start(): Promise<void>;

  /** Whether its workers go by the clock of their machine, and so may fetch nothing while that is off. */
  abstract readonly needsRightClock: boolean;

  /** Its loops by their names: one whose turn takes longer than a minute hangs. */
  abstract readonly loops: Readonly<Record<string, Pick<Loop, 'runsFor'>>>;

  /** Whether workers may fetch tasks at the moment. */
  abstract mayFetch(): boolean;

  /** Told that a queue's dispatcher was away and is back. */
  abstract regained(queue: string): void;

  /** Hands out nothing more, from now on. */
  abstract halt(): void;

  /** Called when the tasks have ended or were given back. */
  abstract stop(): Promise<void>;
}
