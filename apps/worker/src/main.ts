import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { createLogger } from '@app/logging';
import { TaskQueues } from '@app/tasks';
import { startDashboard } from './dashboard.js';
import { WorkerModule } from './worker.module.js';

const config = Config.load();
const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config), {
  logger: createLogger('worker', config),
  abortOnError: false,
});
app.enableShutdownHooks([], { useProcessExit: true });
await startDashboard(config, app.get(TaskQueues, { strict: false }));
