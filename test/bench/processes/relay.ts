/** The product's relay, and what it is made of beside the ledger: `addBulk`. No task is run. */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { PendingTask } from '../../../libs/tasks/src/ledger/ledger.js';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { addAll, productJob, range } from '../lib/jobs.ts';
import {
  Config,
  ConfigModule,
  createLogger,
  DatabaseClock,
  DatabaseModule,
  EngineOptions,
  Handover,
  Listener,
  LoggingModule,
  Relay,
  TaskLogger,
  TaskQueues,
  TasksModule,
  TasksPool,
} from '../lib/product.ts';

const BATCH = 500;
const config = Config.parse(process.env);

class RelayModule {}
Module({
  imports: [
    ConfigModule.forRoot(config),
    LoggingModule.forRoot('bench'),
    DatabaseModule.forRoot('bench'),
    TasksModule.forRoot({ role: 'admin', ...config.tasks }),
  ],
})(RelayModule);

const app = await NestFactory.createApplicationContext(RelayModule, { logger: createLogger('bench', config), abortOnError: false });
const queues = app.get(TaskQueues, { strict: false });
await Promise.all(queues.all().map((queue) => queue.waitUntilReady()));

/** Tells how far the relay is. */
class CountingHandover extends Handover {
  dispatched = 0;
  onDispatched: () => void = () => undefined;

  override async dispatchPending(names: readonly string[], dispatch: (tasks: PendingTask[]) => Promise<void>): Promise<number> {
    const count = await super.dispatchPending(names, dispatch);
    this.dispatched += count;
    this.onDispatched();
    return count;
  }
}

answer({
  relay: async ({ count }: { count: number }) => {
    const pool = app.get(TasksPool, { strict: false });
    const handover = new CountingHandover(pool);
    const logger = new TaskLogger();
    const relay = new Relay(
      handover,
      queues,
      new Listener(new EngineOptions(config.tasks), logger),
      new DatabaseClock(pool, logger),
      logger,
    );
    const done = new Promise<void>((resolve) => {
      handover.onDispatched = () => {
        if (handover.dispatched >= count) resolve();
      };
    });
    const startedAt = now();
    relay.start();
    await done;
    const seconds = (now() - startedAt) / 1_000;
    await relay.stop();
    return seconds;
  },
  addBulk: async ({ count }: { count: number }) => {
    const jobs = range(count).map(productJob);
    const startedAt = now();
    for (let start = 0; start < count; start += BATCH) await addAll(queues.of('default'), jobs.slice(start, start + BATCH));
    return (now() - startedAt) / 1_000;
  },
});
