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
    retryStrategy: (times: number) => Math.min(100 * times, 1_000),
    // What BullMQ is written against.
    protocol: 2,
  };
}

/**
 * Whether an answer says that this Redis is no longer the primary. Its address may
 * lead to another one by now, which only a new connection finds.
 */
function isNoPrimary({ message }: Error): boolean {
  return /\bREADONLY\b|^MASTERDOWN\b/.test(message);
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

/** What several workers or queues use that were given the same options. */
interface SharedConnection {
  connection: Redis | pg.Pool;
  users: number;
}

/** Connections that several use: the first one who comes opens it, the last one who goes closes it. */
class SharedConnections {
  private readonly shared = new WeakMap<object, SharedConnection>();

  constructor(private readonly open: (options: Connection) => Redis | pg.Pool) {}

  acquire(options: Connection): Redis | pg.Pool {
    const found = this.shared.get(options) ?? { connection: this.open(options), users: 0 };
    found.users += 1;
    this.shared.set(options, found);
    return found.connection;
  }

  async release(options: Connection): Promise<void> {
    const found = this.shared.get(options);
    if (!found) return;
    found.users -= 1;
    if (found.users > 0) return;
    this.shared.delete(options);
    if (found.connection instanceof pg.Pool) await found.connection.end();
    else found.connection.disconnect();
  }
}

const ofQueues = new SharedConnections((options) => {
  const { url, ...redisOptions } = options as RedisOptions & { url: string };
  return new Redis(url, {
    ...redisOptions,
    // A producer fails at once while Redis is away: the relay keeps the task, and tries again.
    enableOfflineQueue: false,
    reconnectOnError: (error) => isNoPrimary(error),
  });
});

const ofWorkers = new SharedConnections((options: object) => {
  // Unlike a producer's, a worker's commands wait for a Redis that is away, and are sent again to one that takes no writes: they have done nothing.
  if (options instanceof Redis) {
    return options.duplicate<RedisOptions>({
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      reconnectOnError: (error) => isNoPrimary(error) && 2,
    });
  }
  const pool = new pg.Pool({ ...(options as pg.PoolConfig), options: '-c search_path=bullmq' });
  // Every worker listens to it.
  return pool.setMaxListeners(0);
});

/** What a queue uses on Redis, one for all; on Postgres each has a pool of its own. To be given back with {@link releaseQueueConnection}. */
export function queueConnection(options: Connection): QueueOptions['connection'] {
  return options.url === undefined ? options : (ofQueues.acquire(options) as Redis);
}

export function releaseQueueConnection(options: Connection): Promise<void> {
  return ofQueues.release(options);
}

/**
 * The connection of a worker; to be given back with {@link releaseWorkerConnection}.
 *
 * Workers that are given the same options share a client, or on Postgres a pool,
 * so that the answers come in the order of the picker's choices, whatever their
 * queues: with one each, those of one queue would come in bursts, and those of
 * the queue with the most slots late. (On Redis they block on a connection of
 * their own, which BullMQ makes; on Postgres they keep one of the pool's.)
 *
 * @param options those of the worker's queue: on Redis the client that the queues use.
 */
export function workerConnection(options: Connection): QueueOptions['connection'] {
  const connection = ofWorkers.acquire(options);
  // One more, which a worker listens on.
  if (connection instanceof pg.Pool) connection.options.max += 1;
  return connection as Redis;
}

/** Ends a worker's use of its connection; the last one closes it. */
export function releaseWorkerConnection(options: Connection): Promise<void> {
  return ofWorkers.release(options);
}

/** Makes BullMQ use the configured dispatcher; to be called before any queue exists. */
export function selectDispatcher(config: Config): void {
  setDefaultBackendFactory(config.REDIS_ADDRESS === undefined ? createPostgresBackend : undefined);
}

/** Creates or updates BullMQ's own tables; they are used when no Redis is configured, and harmless otherwise. */
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
