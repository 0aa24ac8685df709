import 'reflect-metadata';
import { Config } from '@app/config';
import { TaskAdmin } from '@app/tasks';
import { command } from './command.js';
import { createProgram } from './tasks/program.js';

const config = Config.load();

await command(config, ({ terminal, run }) =>
  createProgram({ run: (action) => run((app) => action(app.get(TaskAdmin, { strict: false }))), terminal }),
);
