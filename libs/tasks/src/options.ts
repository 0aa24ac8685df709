import type { CorrelationId } from './distribute/distributor.js';
import { type Duration, milliseconds } from './declare/duration.js';
import type { TaskMiddleware } from './run/runner.js';

/** What one queue may use of a worker's slots. */
export interface QueueShare {
  readonly name: string;
  /** Its part of the slots under load, relative to the other queues' weights. */
  readonly weight: number;
  /** Slots that no other queue may take. */
  readonly min: number;
}

/** How the queues of a worker share its slots. */
export interface QueueWeights {
  /** In strict mode a queue runs only while every queue of more weight is empty. */
  readonly strict: boolean;
  readonly queues: readonly QueueShare[];
}

/** What an app tells the engine. All apps that share a ledger name the same database, the same Redis and the same queues. */
export interface TasksOptions {
  /** Where the ledger is: the database that the app's TypeORM writes to. The engine opens connections of its own, six at most. */
  readonly database: { readonly url: string };
  /** Hands tasks out by BullMQ on Redis in place of the ledger itself. `prefix` begins all its keys; default: `waybill`. */
  readonly redis?: { readonly url: string; readonly prefix?: string };
  /** The queues by their names, each with its weight, or with its weight and the slots that are its own; default: critical 10, default 5. */
  readonly queues?: Readonly<Record<string, number | { readonly weight: number; readonly min?: number }>>;
  /** Whether a queue runs only while every queue of more weight is empty; default: queues share the slots by weight. */
  readonly strict?: boolean;
  /** How many tasks a worker runs at a time; default: 15. */
  readonly concurrency?: number;
  /** How long running tasks may take to end when the app does, before they are given back; default: 10 s. */
  readonly shutdownTimeout?: Duration;
  /** The app's version, which operators see beside a worker; at most 100 characters. */
  readonly version?: string;
  /** Which request is being served, so that its tasks can be traced to it. */
  readonly correlationId?: CorrelationId;
  /** Runs around every handler, the first outermost. */
  readonly middleware?: readonly TaskMiddleware[];
}

/** The options with everything that was left out, as the engine reads them. */
export class EngineOptions {
  readonly databaseUrl: string;
  readonly redis: { readonly url: string; readonly prefix: string } | undefined;
  readonly weights: QueueWeights;
  readonly concurrency: number;
  readonly version: string | undefined;
  /** Milliseconds. */
  readonly shutdownTimeout: number;

  /** @throws RangeError that names the option which cannot be used; Error below Node 24. */
  constructor(options: TasksOptions) {
    // On an older one it would start, and lose its lease at the first renewal.
    if (Number.parseInt(process.versions.node, 10) < 24)
      throw new Error(`the task engine needs Node 24 or newer: this is ${process.version}`);
    const { database, redis, queues = { critical: 10, default: 5 }, strict = false, concurrency = 15, shutdownTimeout = '10s' } = options;
    if (!URL.canParse(database.url)) throw new RangeError('database.url must be a URL such as postgres://user:password@host:5432/name');
    this.databaseUrl = database.url;
    this.redis = redis && { url: redis.url, prefix: redis.prefix ?? 'waybill' };
    this.weights = { strict, queues: Object.entries(queues).map(([name, share]) => shareOf(name, share)) };
    this.version = options.version?.slice(0, 100);
    this.concurrency = whole(concurrency, 'concurrency', 1);
    this.shutdownTimeout = milliseconds(shutdownTimeout, 'shutdownTimeout');
    if (this.weights.queues.length === 0) throw new RangeError('queues must name one at least');
    if (this.weights.queues.reduce((sum, { min }) => sum + min, 0) > this.concurrency) {
      throw new RangeError('queues reserve more slots than concurrency has');
    }
  }

  get queueNames(): string[] {
    return this.weights.queues.map(({ name }) => name);
  }
}

function shareOf(name: string, share: number | { readonly weight: number; readonly min?: number }): QueueShare {
  if (!/^[a-z][a-z0-9_-]{0,62}$/.test(name)) throw new RangeError(`queues: "${name}" must be a letter, then letters, digits, "_" and "-"`);
  const { weight, min = 0 } = typeof share === 'number' ? { weight: share } : share;
  return { name, weight: whole(weight, `queues.${name}.weight`, 1), min: whole(min, `queues.${name}.min`, 0) };
}

function whole(value: number, name: string, least: number): number {
  if (!Number.isSafeInteger(value) || value < least) throw new RangeError(`${name} must be a whole number from ${least}`);
  return value;
}
