import { PassThrough } from 'node:stream';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { TaskAdmin } from '@app/tasks';
import { CommanderError } from 'commander';
import { createProgram } from '../../apps/worker/src/tasks/program.js';
import { Terminal } from '../../apps/worker/src/tasks/terminal.js';
import { WorkerModule } from '../../apps/worker/src/worker.module.js';

/** What a command said on each of the streams, and its exit code. */
export interface CommandResult {
  code: number;
  out: string;
  err: string;
}

/** The operators' command line in this process: as a process of its own each command would first load all of Nest, for most of a second. */
export class CommandLine {
  private constructor(readonly app: INestApplicationContext) {}

  static async create(environment: Readonly<Record<string, string>>): Promise<CommandLine> {
    const config = Config.parse({ ...environment, LOG_LEVEL: 'silent' });
    const module = WorkerModule.forRoot(config, 'admin');
    return new CommandLine(await NestFactory.createApplicationContext(module, { logger: false, abortOnError: false }));
  }

  async run(...args: string[]): Promise<CommandResult> {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const terminal = new Terminal(out, err);
    const run = async (action: (admin: TaskAdmin) => Promise<void>) => {
      try {
        await action(this.app.get(TaskAdmin, { strict: false }));
      } catch (error) {
        terminal.fail((error as Error).message);
      }
    };
    let { exitCode } = terminal;
    try {
      await createProgram({ run, terminal }).parseAsync(args, { from: 'user' });
      exitCode = terminal.exitCode;
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      exitCode = error.exitCode;
    }
    return { code: exitCode, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
  }

  close(): Promise<void> {
    return this.app.close();
  }
}
