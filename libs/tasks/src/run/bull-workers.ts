import { Module, type INestApplicationContext, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { BullModule, BullRegistrar, getQueueToken } from '@nestjs/bullmq';
import type { Dispatcher } from '../dispatch/dispatcher.js';
import type { QueueProcessor } from './queue-processor.js';
import { TaskWorker } from './task-worker.js';

@Module({})
class BullWorkersModule {}

/**
 * Gives each of the engine's processors its worker, as BullModule does, in a
 * container of their own: the app's BullModule finds every processor of its
 * container, and makes all of their workers of one class and on its own Redis.
 *
 * @returns the container; closing it closes the workers.
 */
export async function startBullWorkers(
  processors: ReadonlyMap<string, QueueProcessor>,
  dispatcher: Pick<Dispatcher, 'storeOf'>,
): Promise<INestApplicationContext> {
  const providers: Provider[] = [...processors].flatMap(([queue, processor]) => [
    { provide: processor.constructor, useValue: processor },
    // BullModule reads a queue's options off the queue.
    { provide: getQueueToken(queue), useValue: { opts: dispatcher.storeOf(queue) } },
  ]);
  const imports = [BullModule.forRoot({ connection: {}, extraOptions: { manualRegistration: true } }), BullModule.registerQueue()];
  const app = await NestFactory.createApplicationContext({ module: BullWorkersModule, imports, providers }, { abortOnError: false });
  // The class of workers is one for all BullModules of a process: ours are made in this moment, and the app's class is put back.
  const { _workerClass: classOfTheApp } = BullModule as unknown as { _workerClass: typeof TaskWorker };
  BullModule.workerClass = TaskWorker;
  try {
    app.get(BullRegistrar, { strict: false }).register();
  } finally {
    BullModule.workerClass = classOfTheApp;
  }
  return app;
}
