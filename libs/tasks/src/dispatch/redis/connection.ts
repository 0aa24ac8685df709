import type { QueueOptions } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';

/** How BullMQ reaches Redis: `url` stands for it. */
export type RedisConnection = RedisOptions & { url: string };

/** How BullMQ reaches the Redis of a URL. */
export function redisConnection(url: string): RedisConnection {
  return {
    url,
    connectTimeout: 5_000,
    keepAlive: 10_000,
    // Longer than a blocking read: silence beyond it is a dead connection.
    socketTimeout: 15_000,
    retryStrategy: (times: number) => Math.min(100 * times, 1_000),
    // What BullMQ is written against.
    protocol: 2,
  };
}

/** How BullMQ reaches one queue. */
export function queueOptions(prefix: string, queue: string, connection: RedisConnection): Pick<QueueOptions, 'connection' | 'prefix'> {
  // One hash tag a queue: on a cluster all keys of a queue are on one node, and queues spread over nodes.
  // TaskQueue makes a client of it; BullMQ's types know no `url`.
  return { connection: connection as QueueOptions['connection'], prefix: `{${prefix}-${queue}}` };
}

/**
 * Whether an answer says that this Redis is no longer the primary. Its address may
 * lead to another one by now, which only a new connection finds.
 */
function isNoPrimary({ message }: Error): boolean {
  return /\bREADONLY\b|^MASTERDOWN\b/.test(message);
}

/** Whether Redis has answered with a no that is not about the command: it takes none of its kind at the moment, and has done nothing. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof Error &&
    /\b(OOM|MISCONF|BUSY|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|NOAUTH|NOPERM|NOREPLICAS)\b|can't run this command/.test(error.message)
  );
}

/** Whether an answer of Redis says that it is full, and takes no command that may need memory. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && /\bOOM\b/.test(error.message);
}

/** A client that several workers or queues use that were given the same options. */
interface SharedClient {
  client: Redis;
  users: number;
}

/** Clients that several use: the first one who comes opens it, the last one who goes closes it. */
class SharedClients {
  private readonly shared = new WeakMap<object, SharedClient>();

  constructor(private readonly open: (options: object) => Redis) {}

  acquire(options: object): Redis {
    // BullMQ listens for errors while it uses a client; one that comes while it is closed is nobody's, and would be printed.
    const found = this.shared.get(options) ?? { client: this.open(options).on('error', () => undefined), users: 0 };
    found.users += 1;
    this.shared.set(options, found);
    return found.client;
  }

  release(options: object): void {
    const found = this.shared.get(options);
    if (!found) return;
    found.users -= 1;
    if (found.users > 0) return;
    this.shared.delete(options);
    found.client.disconnect();
  }
}

const ofQueues = new SharedClients((options) => {
  const { url, ...redisOptions } = options as RedisConnection;
  return new Redis(url, {
    ...redisOptions,
    // A producer fails at once while Redis is away: the relay keeps the task, and tries again.
    enableOfflineQueue: false,
    reconnectOnError: (error) => isNoPrimary(error),
  });
});

const ofWorkers = new SharedClients((client) =>
  // Unlike a producer's, a worker's commands wait for a Redis that is away, and are sent again to one that takes no writes: they have done nothing.
  (client as Redis).duplicate<RedisOptions>({
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    reconnectOnError: (error) => isNoPrimary(error) && 2,
  }),
);

/** What all queues use; to be given back with {@link releaseQueueConnection}. */
export function queueConnection(options: QueueOptions['connection']): Redis {
  return ofQueues.acquire(options);
}

export function releaseQueueConnection(options: QueueOptions['connection']): void {
  ofQueues.release(options);
}

/**
 * The connection of a worker; to be given back with {@link releaseWorkerConnection}.
 *
 * Workers share a client, so that the answers come in the order of the picker's
 * choices, whatever their queues: with one each, those of one queue would come in
 * bursts, and those of the queue with the most slots late. (They block on a
 * connection of their own, which BullMQ makes.)
 *
 * @param client the one that the queues use.
 */
export function workerConnection(client: Redis): Redis {
  return ofWorkers.acquire(client);
}

/** Ends a worker's use of its connection; the last one closes it. */
export function releaseWorkerConnection(client: Redis): void {
  ofWorkers.release(client);
}
