import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, pendingMigrations } from '@app/database';
import { scrub } from '@app/redaction';
import { DispatcherUnavailable } from '@app/tasks';
import { type Command, CommanderError } from 'commander';
import { migrations } from './migrations.js';
import { Terminal } from './tasks/terminal.js';
import { WorkerModule } from './worker.module.js';

/** What a command line is made with. */
export interface Commands {
  readonly terminal: Terminal;
  /** Does something in an app that runs no tasks; what it throws is said, and the command has failed. */
  readonly run: (action: (app: INestApplicationContext) => Promise<void>) => Promise<void>;
}

/** Runs a command line against the database, with this process's arguments, and sets its exit code. */
export async function command(config: Config, create: (commands: Commands) => Command): Promise<void> {
  const terminal = new Terminal(process.stdout, process.stderr);
  try {
    await create({ terminal, run: (action) => runIn(config, terminal, action) }).parseAsync();
    process.exitCode = terminal.exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode;
  }
}

async function runIn(config: Config, terminal: Terminal, action: (app: INestApplicationContext) => Promise<void>): Promise<void> {
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
    await action(app);
  } catch (error) {
    const redis = error instanceof DispatcherUnavailable ? config.REDIS_ADDRESS : undefined;
    const hint = redis === undefined ? '' : `: is Redis running at ${new URL(redis).host}, where REDIS_ADDRESS says it is?`;
    terminal.fail(`${scrub((error as Error).message)}${hint}`);
  } finally {
    await app.close();
  }
}
