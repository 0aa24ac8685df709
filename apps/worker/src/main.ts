import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { createLogger } from '@app/logging';
import { TaskQueues } from '@app/tasks';
import { startDashboard } from './dashboard.js';
import { WorkerModule } from './worker.module.js';

const config = Config.load();

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);
const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config), {
  logger: createLogger('worker', config),
  abortOnError: false,
});
app.enableShutdownHooks([], { useProcessExit: true });
process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
await startDashboard(config, app.get(TaskQueues, { strict: false }));
