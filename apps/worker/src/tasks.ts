import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, pendingMigrations } from '@app/database';
import { migrations } from './migrations.js';
import { scrub } from '@app/redaction';
import { DispatcherUnavailable, TaskAdmin } from '@app/tasks';
import { CommanderError } from 'commander';
import { createProgram } from './tasks/program.js';
import { Terminal } from './tasks/terminal.js';
import { WorkerModule } from './worker.module.js';

const config = Config.load();
const terminal = new Terminal(process.stdout, process.stderr);
const weights = new Map(config.QUEUE_WEIGHTS.queues.map((queue) => [queue.name, queue.weight]));

try {
  await createProgram({ run, weights, terminal }).parseAsync();
  process.exitCode = terminal.exitCode;
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode;
}

async function run(action: (admin: TaskAdmin) => Promise<void>): Promise<void> {
  try {
    await assertDatabase(config, [(client) => pendingMigrations(client, migrations)]);
  } catch (error) {
    if (!(error instanceof DatabaseProblem)) throw error;
    return terminal.fail(error.message);
  }
  const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config, 'admin'), {
    logger: ['error', 'fatal'],
    abortOnError: false,
  });
  try {
    await action(app.get(TaskAdmin, { strict: false }));
  } catch (error) {
    const redis = error instanceof DispatcherUnavailable ? config.REDIS_ADDRESS : undefined;
    const hint = redis === undefined ? '' : `: is Redis running at ${new URL(redis).host}, where REDIS_ADDRESS says it is?`;
    terminal.fail(`${scrub((error as Error).message)}${hint}`);
  } finally {
    await app.close();
  }
}
