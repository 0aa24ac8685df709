import type { Provider } from '@nestjs/common';
import { TaskAdmin, TaskDistributor, type TaskMiddleware } from '@app/tasks';
import { DataSource } from 'typeorm';
import { onTestFinished } from 'vitest';
import { createEngine } from '../../test/support/engine.js';
import { eventually } from '../../test/support/eventually.js';

export { eventually };

/** A worker that runs these tasks, on a database of its own; it ends with the test. */
export async function startWorker(providers: Provider[], environment: Record<string, string> = {}, middleware: TaskMiddleware[] = []) {
  const engine = await createEngine('postgres');
  onTestFinished(() => engine.close());
  const app = await engine.worker(providers, environment, middleware);
  return {
    tasks: app.get(TaskDistributor, { strict: false }),
    admin: app.get(TaskAdmin, { strict: false }),
    /** The app's TypeORM, as a service of the team has it. */
    dataSource: app.get(DataSource, { strict: false }),
    /** Resolves when the ledger holds nothing that is still to run. */
    idle: () => eventually(async () => (await engine.database.query(`SELECT FROM task WHERE state = 'pending'`)).length === 0),
  };
}
