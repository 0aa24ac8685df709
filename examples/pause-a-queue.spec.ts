// No worker takes a task of a paused queue; what runs goes on to its end.
// Wanted while something that the tasks need is being mended.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventually, startWorker } from './support/worker.js';

const payload = z.object({ what: z.string() });
const done: string[] = [];

@Injectable()
@Task({ type: 'example.work', payload })
class Work implements TaskHandler<z.output<typeof payload>> {
  async handle({ what }: z.output<typeof payload>): Promise<void> {
    done.push(what);
  }
}

it('takes nothing of a paused queue, and everything of the others', async () => {
  const { tasks, admin, idle } = await startWorker([Work]);
  await admin.pause('default');
  await tasks.distribute(Work, { what: 'ordinary' });
  await tasks.distribute(Work, { what: 'urgent' }, { queue: 'critical', processIn: '200ms' });
  // The urgent one came later, and is the only one that has run by then.
  await eventually(() => done.length > 0);
  expect(done).toEqual(['urgent']);
  await admin.resume('default');
  await idle();
  expect(done).toEqual(['urgent', 'ordinary']);
});
