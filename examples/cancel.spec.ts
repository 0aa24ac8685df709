// A task that waits can be taken out; one that runs is told by its signal, wherever it runs.
// Wanted where a person changes their mind. A handler passes the signal on to what it waits for.
import { setTimeout as wait } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventually, startWorker } from './support/worker.js';

const payload = z.object({ film: z.string() });
const started: string[] = [];
const stopped: string[] = [];

@Injectable()
@Task({ type: 'films.render', payload })
class RenderFilm implements TaskHandler<z.output<typeof payload>> {
  async handle({ film }: z.output<typeof payload>, { signal }: TaskContext): Promise<void> {
    started.push(film);
    await wait(60_000, undefined, { signal }).catch((error: unknown) => {
      stopped.push(film);
      throw error;
    });
  }
}

it('is cancelled while it waits, and while it runs', async () => {
  const { tasks, admin, idle } = await startWorker([RenderFilm]);
  const later = await tasks.distribute(RenderFilm, { film: 'later' }, { processIn: '1h' });
  const now = await tasks.distribute(RenderFilm, { film: 'now' });
  await eventually(() => started.length === 1);
  expect(await admin.cancel(later.id)).toBe('cancelled');
  expect(await admin.cancel(now.id)).toBe('cancelled while running');
  await idle();
  await eventually(() => stopped.length === 1);
  expect(started).toEqual(['now']);
});
