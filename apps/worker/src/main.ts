import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { Logger } from '@app/logging';
import { TaskQueues } from '@app/tasks';
import { startDashboard } from './dashboard.js';
import { WorkerModule } from './worker.module.js';

const config = Config.load();
const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config), { bufferLogs: true, abortOnError: false });
app.useLogger(app.get(Logger));
app.enableShutdownHooks();
await startDashboard(config, app.get(TaskQueues, { strict: false }));
