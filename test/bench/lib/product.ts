import 'reflect-metadata';

/**
 * The product's libraries, as they are built; the programs are bundles of them. Loaded by an address that
 * the compiler does not follow, because there are no declarations in dist; the
 * types are the sources' own.
 */
async function built<Library>(path: string): Promise<Library> {
  return (await import(new URL(`../../../dist/libs/${path}.js`, import.meta.url).href)) as Library;
}

export const { Config, ConfigModule } = await built<typeof import('@app/config')>('config/src/index');
export const { DatabaseModule } = await built<typeof import('@app/database')>('database/src/index');
export const { createLogger, LoggingModule } = await built<typeof import('@app/logging')>('logging/src/index');
export const { startTelemetry } = await built<typeof import('@app/telemetry')>('telemetry/src/index');
const tasks = <Library>(path: string) => built<Library>(`tasks/src/${path}`);

export const { Task, TaskAdmin, TaskDistributor, TaskQueues, TasksModule } = await tasks<typeof import('@app/tasks')>('index');
export const { Completions } = await tasks<typeof import('../../../libs/tasks/src/run/completions.js')>('run/completions');
export const { DatabaseClock } = await tasks<typeof import('../../../libs/tasks/src/ledger/database-clock.js')>('ledger/database-clock');
export const { Handover } = await tasks<typeof import('../../../libs/tasks/src/ledger/handover.js')>('ledger/handover');
export const { jobOf } = await tasks<typeof import('../../../libs/tasks/src/dispatch/job.js')>('dispatch/job');
export const { EngineOptions } = await tasks<typeof import('../../../libs/tasks/src/options.js')>('options');
export const { Ledger } = await tasks<typeof import('../../../libs/tasks/src/ledger/ledger.js')>('ledger/ledger');
export const { Listener } = await tasks<typeof import('../../../libs/tasks/src/ledger/listener.js')>('ledger/listener');
export const { queueOptions, redisConnection } =
  await tasks<typeof import('../../../libs/tasks/src/dispatch/redis/connection.js')>('dispatch/redis/connection');
export const { Reconciler } =
  await tasks<typeof import('../../../libs/tasks/src/dispatch/redis/reconciler.js')>('dispatch/redis/reconciler');
export const { Relay } = await tasks<typeof import('../../../libs/tasks/src/dispatch/redis/relay.js')>('dispatch/redis/relay');
export const { QUEUE_PROCESSORS } = await tasks<typeof import('../../../libs/tasks/src/run/task-processor.js')>('run/task-processor');
export const { TaskLogger } = await tasks<typeof import('../../../libs/tasks/src/task-logger.js')>('task-logger');
export const { TasksPool } = await tasks<typeof import('../../../libs/tasks/src/ledger/tasks-pool.js')>('ledger/tasks-pool');
