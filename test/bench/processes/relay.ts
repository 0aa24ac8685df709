/** The product's relay, and what it is made of beside the ledger: `addBulk`. No task is run. */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DataSource } from 'typeorm';
import type { PendingTask } from '../../../libs/tasks/src/ledger.js';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { addAll, productJob, range } from '../lib/jobs.ts';
import {
  Config,
  ConfigModule,
  createLogger,
  DatabaseModule,
  Ledger,
  LoggingModule,
  Relay,
  TaskLogger,
  TaskQueues,
  TasksModule,
} from '../lib/product.ts';

const BATCH = 500;
const config = Config.parse(process.env);

class RelayModule {}
Module({
  imports: [ConfigModule.forRoot(config), LoggingModule.forRoot('bench'), DatabaseModule.forRoot('bench'), TasksModule.forAdmin(config)],
})(RelayModule);

const app = await NestFactory.createApplicationContext(RelayModule, { logger: createLogger('bench', config), abortOnError: false });
const queues = app.get(TaskQueues, { strict: false });
await Promise.all(queues.all().map((queue) => queue.waitUntilReady()));

/** Tells how far the relay is. */
class CountingLedger extends Ledger {
  dispatched = 0;
  onDispatched: () => void = () => undefined;

  override async dispatchPending(dispatch: (tasks: PendingTask[]) => Promise<void>): Promise<number> {
    const count = await super.dispatchPending(dispatch);
    this.dispatched += count;
    this.onDispatched();
    return count;
  }
}

answer({
  relay: async ({ count }: { count: number }) => {
    const ledger = new CountingLedger(app.get(DataSource, { strict: false }));
    const runner = { interrupt: () => false } as never;
    const relay = new Relay(config, ledger, queues, runner, new TaskLogger());
    const done = new Promise<void>((resolve) => {
      ledger.onDispatched = () => {
        if (ledger.dispatched >= count) resolve();
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
