// A handler says how far it is, and with a retention what came of it stays for a while after the end.
// Wanted for long work that somebody watches.
import { Injectable } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventually, startWorker } from './support/worker.js';

const payload = z.object({ rows: z.number() });

let goOn: () => void;
const watched = new Promise<void>((resolve) => (goOn = resolve));

@Injectable()
@Task({ type: 'imports.import_file', payload, retention: '1d' })
class ImportFile implements TaskHandler<z.output<typeof payload>> {
  async handle({ rows }: z.output<typeof payload>, task: TaskContext): Promise<object> {
    for (let row = 1; row <= rows; row++) await task.progress({ row, of: rows });
    await watched;
    return { imported: rows };
  }
}

it('shows what it has told', async () => {
  const { tasks, admin, idle } = await startWorker([ImportFile]);
  const { id } = await tasks.distribute(ImportFile, { rows: 3 });
  const progress = async () => (await admin.show(id))?.progress as { row: number } | null;
  await eventually(async () => (await progress())?.row === 3);
  goOn();
  await idle();
  expect(await admin.show(id)).toMatchObject({ state: 'completed', result: { imported: 3 } });
});
