import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { Logger } from '@app/logging';
import { WorkerModule } from './worker.module.js';

const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(Config.load()), { bufferLogs: true, abortOnError: false });
app.useLogger(app.get(Logger));
app.enableShutdownHooks();
