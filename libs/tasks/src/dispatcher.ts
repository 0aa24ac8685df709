import type { Config } from '@app/config';
import {
  assertSchemaCompatibility,
  createPostgresBackend,
  LATEST_SCHEMA_VERSION,
  type QueueOptions,
  runMigrations,
  SchemaMigrationRequiredError,
  setDefaultBackendFactory,
} from 'bullmq';
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
      // A worker listens on one of them: a connection that was dropped without a word must not go unnoticed for long.
      keepAliveInitialDelayMillis: 10_000,
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

/** What workers share that were given the same options. */
interface SharedConnection {
  connection: Redis | pg.Pool;
  users: number;
}

const shared = new WeakMap<object, SharedConnection>();

/**
 * The connection of a worker; to be given back with {@link releaseWorkerConnection}.
 *
 * Workers that are given the same options share a client, or on Postgres a pool,
 * so that the answers come in the order of the picker's choices, whatever their
 * queues: with one each, those of one queue would come in bursts, and those of
 * the queue with the most slots late. (On Redis they block on a connection of
 * their own, which BullMQ makes; on Postgres they keep one of the pool's.)
 */
export function workerConnection(options: Connection): QueueOptions['connection'] {
  const found = shared.get(options) ?? { connection: sharedConnection(options), users: 0 };
  found.users += 1;
  // One more, which a worker listens on.
  if (found.connection instanceof pg.Pool) found.connection.options.max += 1;
  shared.set(options, found);
  return found.connection as Redis;
}

function sharedConnection(options: Connection): Redis | pg.Pool {
  const { url, ...redisOptions } = options as RedisOptions & { url?: string };
  // Unlike a producer's, a worker's commands wait for a Redis that is away.
  if (url !== undefined) return new Redis(url, { ...redisOptions, enableOfflineQueue: true, maxRetriesPerRequest: null });
  const pool = new pg.Pool({ ...(options as pg.PoolConfig), options: '-c search_path=bullmq' });
  // Every worker listens to it.
  return pool.setMaxListeners(0);
}

/** Ends a worker's use of its connection; the last one closes it. */
export async function releaseWorkerConnection(options: Connection): Promise<void> {
  const found = shared.get(options);
  if (!found) return;
  found.users -= 1;
  if (found.users > 0) return;
  shared.delete(options);
  if (found.connection instanceof pg.Pool) await found.connection.end();
  else found.connection.disconnect();
}

/** Makes BullMQ use the configured dispatcher; to be called before any queue exists. */
export function selectDispatcher(config: Config): void {
  setDefaultBackendFactory(config.REDIS_ADDRESS === undefined ? createPostgresBackend : undefined);
}

/** Creates or updates BullMQ's own tables, on a connection of its own; they are used when no Redis is configured, and harmless otherwise. */
export async function migrateQueues(client: pg.ClientBase): Promise<void> {
  await runMigrations(client);
}

/** What {@link migrateQueues} has still to do before the queues can be used. */
export function pendingQueueMigrations(config: Config): (client: pg.ClientBase) => Promise<string[]> {
  return async (client) => {
    if (config.REDIS_ADDRESS !== undefined) return [];
    const version = await assertSchemaCompatibility(client).catch((error: unknown) => {
      if (error instanceof SchemaMigrationRequiredError) return 0;
      throw error;
    });
    return version < LATEST_SCHEMA_VERSION ? ['the queues'] : [];
  };
}
