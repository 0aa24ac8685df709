import type { Config } from '@app/config';
import { createPostgresBackend, type QueueOptions, runMigrations, setDefaultBackendFactory } from 'bullmq';
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

/**
 * Where BullMQ keeps its queues: Redis when `REDIS_ADDRESS` is set, otherwise
 * the database itself. Everything above BullMQ is the same.
 */
export function queueOptions(config: Config, queue: string): Pick<QueueOptions, 'connection' | 'prefix'> {
  if (config.REDIS_ADDRESS === undefined) {
    const connection = {
      connectionString: config.DATABASE_URL,
      max: 4,
      keepAlive: true,
      connectionTimeoutMillis: 5_000,
      // What is not answered by then is asked again on another connection.
      query_timeout: 10_000,
      // A crash of the server may take back what BullMQ wrote last, and nothing is lost: the ledger, whose own
      // commits wait for the disk, is the truth. A job that was added is on the disk with the commit that marks its
      // task; one that was finished is done according to the ledger when it comes again.
      options: '-c synchronous_commit=off',
      Client: QueueClient,
    };
    // BullMQ's types know only Redis here (nestjs/bull issue 2903).
    return { connection: connection as QueueOptions['connection'] };
  }
  return {
    // One hash tag a queue: on a cluster all keys of a queue are on one node, and queues spread over nodes.
    prefix: `{${config.REDIS_PREFIX}-${queue}}`,
    connection: {
      url: config.REDIS_ADDRESS,
      connectTimeout: 5_000,
      keepAlive: 10_000,
      // Longer than a blocking read: silence beyond it is a dead connection.
      socketTimeout: 15_000,
      // A producer fails at once while Redis is away: the relay keeps the task, and tries again.
      enableOfflineQueue: false,
      retryStrategy: (times: number) => Math.min(100 * times, 1_000),
    },
  };
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
