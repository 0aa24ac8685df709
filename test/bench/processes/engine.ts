/**
 * The product's engine as a worker process runs it: the whole of it, or, with
 * BENCH_LEDGER=none, all but the ledger's part, so that the processor can be
 * set beside a plain BullMQ Worker.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { Module, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import type { QueueProcessor } from '../../../libs/tasks/src/run/queue-processor.js';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { NoOp, tally } from '../lib/no-op.task.ts';
import {
  Completions,
  Config,
  ConfigModule,
  createLogger,
  DatabaseModule,
  Ledger,
  LoggingModule,
  QUEUE_PROCESSORS,
  Reconciler,
  Relay,
  startTelemetry,
  TaskAdmin,
  TasksModule,
} from '../lib/product.ts';

const config = Config.parse(process.env);
const metrics = await startTelemetry(config, { app: 'bench', version: undefined }, process.env['BENCH_METRICS'] === 'on');
// Three times as often as a Prometheus does.
if (metrics) setInterval(() => void metrics(), 5_000);
const logger = createLogger('bench', config);

class EngineModule {}
Module({
  imports: [
    ConfigModule.forRoot(config),
    LoggingModule.forRoot('bench'),
    DatabaseModule.forRoot('bench'),
    TasksModule.forRoot({ role: 'process', ...config.tasks }),
  ],
  providers: [NoOp],
})(EngineModule);

async function startWhole(): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext(EngineModule, { logger, abortOnError: false });
}

/** The processor, the runner and the listeners are the product's; a completed task is simply done, and one that was handed back begins anew. */
async function startWithoutLedger(): Promise<INestApplicationContext> {
  const idle = { start: () => undefined, stop: () => Promise.resolve(), suspect: () => undefined };
  const app = await Test.createTestingModule({ imports: [EngineModule] })
    .overrideProvider(Ledger)
    .useValue({ begin: (_claim: unknown, crashes: number) => Promise.resolve(crashes) })
    .overrideProvider(Completions)
    .useValue({ add: () => Promise.resolve() })
    .overrideProvider(Relay)
    .useValue(idle)
    .overrideProvider(Reconciler)
    .useValue(idle)
    .compile();
  app.useLogger(logger);
  return app.init();
}

const app = await (process.env['BENCH_LEDGER'] === 'none' ? startWithoutLedger() : startWhole());
const admin = app.get(TaskAdmin, { strict: false });
/** Done is what the ledger has heard of. */
const recorded = async () => {
  if (process.env['BENCH_LEDGER'] !== 'none') await app.get(Completions, { strict: false }).recorded();
};
const pause = () => Promise.all(Object.keys(config.QUEUE_WEIGHTS.queues).map((name) => admin.pause(name)));
const resume = () => Promise.all(Object.keys(config.QUEUE_WEIGHTS.queues).map((name) => admin.resume(name)));
for (const { worker } of app.get<Map<string, QueueProcessor>>(QUEUE_PROCESSORS, { strict: false }).values())
  worker.on('completed', () => tally.done());

answer({
  pause,
  /** Counts tasks that come in by themselves. */
  expect: async ({ count }: { count: number }) => {
    const delivered = await tally.expect(count);
    await recorded();
    return { ...delivered, endedAt: now() };
  },
  /** Runs `count` tasks of a backlog, and holds the queues again; some more may slip through. */
  runSome: async ({ count }: { count: number }) => {
    const ended = tally.expectSome(count);
    const startedAt = now();
    await resume();
    await ended;
    await recorded();
    const endedAt = now();
    await pause();
    while (tally.counts.done < tally.counts.runs) await wait(10);
    return { seconds: (endedAt - startedAt) / 1_000, ...tally.counts };
  },
  /** Lets the queues go and runs `count` tasks. */
  run: async ({ count }: { count: number }) => {
    const delivered = tally.expect(count);
    const startedAt = now();
    await resume();
    const { runs, unique, order } = await delivered;
    await recorded();
    return { seconds: (now() - startedAt) / 1_000, runs, unique, order };
  },
});
