import type { Config } from '@app/config';
import { createPostgresBackend, type QueueOptions, runMigrations, setDefaultBackendFactory } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import pg from 'pg';

/**
 * A connection whose end is never an unhandled error, which would end the
 * process: BullMQ does not look out for it on a connection that it works with.
 */
class QueueClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    this.on('error', () => undefined);
  }
}

/** Job ids are BullMQ's; a task that is dispatched anew is another job. */
export function jobId(task: { id: string; generation: number }): string {
  return task.generation === 0 ? task.id : `${task.id}.${task.generation}`;
}

/** Which dispatch of which task a job is. */
export function taskOf(jobId: string): { id: string; generation: number } {
  const [id, generation = '0'] = jobId.split('.');
  return { id: id!, generation: Number(generation) };
}

/** What BullMQ connects to, and how; `url` stands for Redis. */
type Connection = QueueOptions['connection'] & { url?: string };

/**
 * Where BullMQ keeps its queues: Redis when `REDIS_ADDRESS` is set, otherwise
 * the database itself. Everything above BullMQ is the same.
 */
export function connectionOptions(config: Config): Connection {
  if (config.REDIS_ADDRESS === undefined) {
    const connection = {
      connectionString: config.DATABASE_URL,
      max: 4,
      keepAlive: true,
      connectionTimeoutMillis: 5_000,
      // What is not answered by then is asked again on another connection.
      query_timeout: 10_000,
      Client: QueueClient,
    };
    // BullMQ's types know only Redis here (nestjs/bull issue 2903).
    return connection as Connection;
  }
  return {
    url: config.REDIS_ADDRESS,
    connectTimeout: 5_000,
    keepAlive: 10_000,
    // Longer than a blocking read: silence beyond it is a dead connection.
    socketTimeout: 15_000,
    // A producer fails at once while Redis is away: the relay keeps the task, and tries again.
    enableOfflineQueue: false,
    retryStrategy: (times: number) => Math.min(100 * times, 1_000),
  };
}

/** How BullMQ reaches one queue. */
export function queueOptions(
  config: Config,
  queue: string,
  connection = connectionOptions(config),
): Pick<QueueOptions, 'connection' | 'prefix'> {
  if (config.REDIS_ADDRESS === undefined) return { connection };
  // One hash tag a queue: on a cluster all keys of a queue are on one node, and queues spread over nodes.
  return { connection, prefix: `{${config.REDIS_PREFIX}-${queue}}` };
}

/** The clients that workers share, by the options that they were made from. */
const clients = new WeakMap<object, { client: Redis; users: number }>();

/**
 * The connection of a worker; to be given back with {@link releaseWorkerConnection}.
 *
 * On Redis, workers that are given the same options share a client, so that the
 * answers come in the order of the picker's choices, whatever their queues: over
 * one client each, those of one queue would come in bursts. Unlike a producer's,
 * a worker's commands wait for a Redis that is away. (It blocks on a connection
 * of its own, which BullMQ makes.)
 */
export function workerConnection(connection: Connection): QueueOptions['connection'] {
  const { url, ...options } = connection as RedisOptions & { url?: string };
  if (url === undefined) return connection;
  const shared = clients.get(connection) ?? {
    client: new Redis(url, { ...options, enableOfflineQueue: true, maxRetriesPerRequest: null }),
    users: 0,
  };
  shared.users += 1;
  clients.set(connection, shared);
  return shared.client;
}

/** Ends a worker's use of its connection; the last one closes it. */
export function releaseWorkerConnection(connection: Connection): void {
  const shared = clients.get(connection);
  if (!shared) return;
  shared.users -= 1;
  if (shared.users > 0) return;
  clients.delete(connection);
  shared.client.disconnect();
}

/** Makes BullMQ use the configured dispatcher; to be called before any queue exists. */
export function selectDispatcher(config: Config): void {
  setDefaultBackendFactory(config.REDIS_ADDRESS === undefined ? createBackend : undefined);
}

/** Has the connection that BullMQ listens on be one of ours too: it looks out for that one's end, but only once it is open. */
const createBackend: typeof createPostgresBackend = (...args) => {
  const backend = createPostgresBackend(...args);
  const { connection } = backend as unknown as { connection: { pgModule?: { Client: typeof pg.Client } } };
  connection.pgModule &&= { Client: QueueClient };
  return backend;
};

/** Creates or updates BullMQ's own tables; they are used when no Redis is configured, and harmless otherwise. */
export async function migrateQueues(config: Config): Promise<void> {
  const client = new pg.Client({ connectionString: config.DATABASE_URL, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    await runMigrations(client);
  } finally {
    await client.end();
  }
}
