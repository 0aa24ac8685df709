/**
 * The engine with tasks that have effects on the database, as a real process:
 * `ROLE=worker` runs them, `ROLE=distributor` makes orders as it is told by its
 * parent. It is bundled as the apps are, with the built libraries; decorators
 * are called by hand, because tsc does not compile it.
 */
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { Inject, Module, type Provider } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { armFaults } from '@app/faults';
import { createLogger, LoggingModule } from '@app/logging';
import { Task, type TaskContext, TaskDistributor, type TaskHandler, type TaskMiddleware, TasksModule } from '@app/tasks';
import { DataSource, type EntityManager } from 'typeorm';
import { z } from 'zod';
import { breakFence, deafen } from './broken-fence.ts';

const isBroken = process.env['BROKEN'] === 'no-fence';
const payload = z.object({ order: z.uuid() });
/** Milliseconds. */
const LONG = 20_000;
/** As what a poisoned process exits. */
const POISONED = 66;

/** Which beginning of a handler this is, by the task that it runs. */
const runs = new WeakMap<TaskContext, string>();

/** Tells the test that a handler has begun, at once and not through a buffer that would die with the process. */
const tellStart: TaskMiddleware = async (task, next) => {
  if (isBroken) deafen(task);
  const run = randomUUID();
  runs.set(task, run);
  writeSync(1, `${JSON.stringify({ started: task.id, run, attempt: task.attempt, pid: process.pid, at: Date.now() })}\n`);
  return next();
};

/** The effect and the end of the task are one transaction. */
class EffectInTransaction implements TaskHandler<{ order: string }> {
  private readonly pause = Number(process.env['EFFECT_PAUSE'] ?? 20);

  async handle({ order }: { order: string }, task: TaskContext): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.pause));
    await task.transaction((manager) => write(manager, order, task, 'transaction'));
  }
}
Task({ type: 'faults.effect_in_transaction', queue: 'default', payload, backoff: { type: 'fixed', delay: '500ms' } })(EffectInTransaction);

/** The effect is a write of its own, and the task's id keeps it from being there twice. */
class EffectByKey implements TaskHandler<{ order: string }> {
  private readonly dataSource: DataSource;

  constructor(dataSource: DataSource) {
    this.dataSource = dataSource;
  }

  async handle({ order }: { order: string }, task: TaskContext): Promise<void> {
    await write(this.dataSource.manager, order, task, 'keyed');
  }
}
Inject(DataSource)(EffectByKey, undefined, 0);
Task({ type: 'faults.effect_by_key', queue: 'critical', payload, backoff: { type: 'fixed', delay: '500ms' } })(EffectByKey);

/** Longer than a lease. */
class LongEffect implements TaskHandler<{ order: string }> {
  async handle({ order }: { order: string }, task: TaskContext): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, LONG));
    await task.transaction((manager) => write(manager, order, task, 'transaction'));
  }
}
Task({ type: 'faults.long_effect', queue: 'critical', payload })(LongEffect);

/** Blocks the event loop of its process, and then has an effect like any other. */
class BlockingEffect implements TaskHandler<{ order: string }> {
  private readonly duration = Number(process.env['BLOCK_FOR'] ?? 60_000);

  async handle({ order }: { order: string }, task: TaskContext): Promise<void> {
    for (const until = Date.now() + this.duration; Date.now() < until;);
    await task.transaction((manager) => write(manager, order, task, 'transaction'));
  }
}
Task({ type: 'faults.blocking_effect', queue: 'critical', payload })(BlockingEffect);

/** Ends the process that runs it, whichever that is. */
class Poison implements TaskHandler<{ order: string }> {
  handle(): Promise<void> {
    process.exit(POISONED);
  }
}
Task({ type: 'faults.poison', queue: 'critical', payload })(Poison);

const TASKS = { transaction: EffectInTransaction, keyed: EffectByKey, long: LongEffect, blocking: BlockingEffect, poison: Poison };

async function write(manager: EntityManager, order: string, task: TaskContext, mode: 'transaction' | 'keyed'): Promise<void> {
  await manager.query(
    `INSERT INTO fault_effect (order_id, task_id, run, mode) VALUES ($1, $2, $3, $4)
     ON CONFLICT (task_id) WHERE mode = 'keyed' DO NOTHING`,
    [order, task.id, runs.get(task) ?? '', mode],
  );
}

const config = Config.load();
const isWorker = process.env['ROLE'] === 'worker';
if (isBroken) breakFence();

armFaults(config.FAULTS);

class EffectsModule {}
Module({
  imports: [
    ConfigModule.forRoot(config),
    LoggingModule.forRoot('effects'),
    DatabaseModule.forRoot('waybill-effects'),
    TasksModule.forRoot({ role: isWorker ? 'process' : 'distribute', ...config.tasks, middleware: [tellStart] }),
  ],
  providers: (isWorker ? Object.values(TASKS) : []) as Provider[],
})(EffectsModule);

const app = await NestFactory.createApplicationContext(EffectsModule, { logger: createLogger('effects', config), abortOnError: false });
app.enableShutdownHooks([], { useProcessExit: true });
if (!isWorker) process.on('message', (message) => void distribute(message as Order));
// From here on it ends well when it is asked to; said at every log level.
process.stdout.write(isWorker ? 'worker ready\n' : 'distributor ready\n');

/** What the test asks for: an order and its task in one transaction, which is rolled back when told so. */
interface Order {
  ids: string[];
  mode: keyof typeof TASKS;
  rollBack?: boolean;
}

async function distribute({ ids, mode, rollBack }: Order): Promise<void> {
  const distributor = app.get(TaskDistributor);
  try {
    await app.get(DataSource).transaction(async (manager) => {
      for (const id of ids) {
        await manager.query('INSERT INTO fault_order (id) VALUES ($1)', [id]);
        await distributor.distribute(TASKS[mode] as never, { order: id }, { manager });
      }
      if (rollBack) throw new Error('rolled back, as the test asked');
    });
    process.send?.({ ids, committed: true });
  } catch (error) {
    process.send?.({ ids, committed: false, why: (error as Error).message });
  }
}
