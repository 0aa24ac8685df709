import 'reflect-metadata';

/**
 * The product as it is shipped: the built libraries. Loaded by an address that
 * the compiler does not follow, because there are no declarations in dist; the
 * types are the sources' own.
 */
async function built<Library>(path: string): Promise<Library> {
  return (await import(new URL(`../../../dist/libs/${path}.js`, import.meta.url).href)) as Library;
}

export const { Config, ConfigModule } = await built<typeof import('@app/config')>('config/src/index');
export const { DatabaseModule } = await built<typeof import('@app/database')>('database/src/index');
export const { createLogger, LoggingModule } = await built<typeof import('@app/logging')>('logging/src/index');
export const { Task, TaskDistributor, TaskQueues, TasksModule } = await built<typeof import('@app/tasks')>('tasks/src/index');
export const { Completions } = await built<typeof import('../../../libs/tasks/src/completions.js')>('tasks/src/completions');
export const { queueOptions } = await built<typeof import('../../../libs/tasks/src/dispatcher.js')>('tasks/src/dispatcher');
export const { jobOf } = await built<typeof import('../../../libs/tasks/src/job.js')>('tasks/src/job');
export const { Ledger } = await built<typeof import('../../../libs/tasks/src/ledger.js')>('tasks/src/ledger');
export const { Reconciler } = await built<typeof import('../../../libs/tasks/src/reconciler.js')>('tasks/src/reconciler');
export const { Relay } = await built<typeof import('../../../libs/tasks/src/relay.js')>('tasks/src/relay');
export const { QUEUE_PROCESSORS } = await built<typeof import('../../../libs/tasks/src/task-processor.js')>('tasks/src/task-processor');
export const { TaskLogger } = await built<typeof import('../../../libs/tasks/src/task-logger.js')>('tasks/src/task-logger');
