import { randomUUID } from 'node:crypto';
import { type INestApplicationContext, Module, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { LoggingModule } from '@app/logging';
import { type TaskMiddleware, TasksModule } from '@app/tasks';
import { inject } from 'vitest';
import { createDatabase, type TestDatabase } from './database.js';

export type Dispatcher = 'redis' | 'postgres';

/** An engine of one's own: a database, a dispatcher, and as many worker apps as a test wants. */
export interface TestEngine {
  database: TestDatabase;
  environment: Record<string, string>;
  /** Starts a worker that runs the given tasks; closed by `close` if not before. */
  worker(tasks: Provider[], environment?: Record<string, string>, middleware?: readonly TaskMiddleware[]): Promise<INestApplicationContext>;
  /** Starts an app that knows the given tasks as an operator's tool does, and runs none. */
  admin(tasks: Provider[]): Promise<INestApplicationContext>;
  /** Starts an app that only distributes. */
  distributor(): Promise<INestApplicationContext>;
  close(): Promise<void>;
}

/** Whether this machine has what the dispatcher needs. */
export function isAvailable(dispatcher: Dispatcher): boolean {
  return dispatcher === 'postgres' || inject('redisAddress') !== '';
}

/** @param options.database one of the test's own in place of a new one. */
export async function createEngine(dispatcher: Dispatcher, options: { database?: TestDatabase } = {}): Promise<TestEngine> {
  const database = options.database ?? (await createDatabase());
  const environment = {
    DATABASE_URL: database.url,
    REDIS_ADDRESS: dispatcher === 'redis' ? inject('redisAddress') : '',
    REDIS_PREFIX: `test-${randomUUID()}`,
    LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
    WORKER_SHUTDOWN_TIMEOUT: '2s',
  };
  const apps = new Set<INestApplicationContext>();
  const start = async (module: object) => {
    const app = await NestFactory.createApplicationContext(module as never, { logger: false, abortOnError: false });
    apps.add(app);
    return app;
  };
  return {
    database,
    environment,
    worker: (tasks, overrides = {}, middleware = []) => {
      const config = Config.parse({ ...environment, ...overrides });
      @Module({
        imports: [
          ConfigModule.forRoot(config),
          LoggingModule.forRoot('test'),
          DatabaseModule.forRoot('waybill-worker', { poolSize: config.workerPoolSize }),
          TasksModule.forRoot({ role: 'process', ...config.tasks, middleware }),
        ],
        providers: tasks,
      })
      class TestWorkerModule {}
      return start(TestWorkerModule);
    },
    admin: (tasks) => {
      const config = Config.parse(environment);
      @Module({
        imports: [
          ConfigModule.forRoot(config),
          LoggingModule.forRoot('test'),
          DatabaseModule.forRoot(),
          TasksModule.forRoot({ role: 'admin', ...config.tasks }),
        ],
        providers: tasks,
      })
      class TestAdminModule {}
      return start(TestAdminModule);
    },
    distributor: () => {
      @Module({
        imports: [
          ConfigModule.forRoot(Config.parse(environment)),
          LoggingModule.forRoot('test'),
          DatabaseModule.forRoot(),
          TasksModule.forRoot({ role: 'distribute', ...Config.parse(environment).tasks }),
        ],
      })
      class TestDistributorModule {}
      return start(TestDistributorModule);
    },
    close: async () => {
      await Promise.all([...apps].map((app) => app.close()));
      await database.drop();
    },
  };
}
