// At most one task of a type with a key, until it is done: whoever distributes it again is told which one there is.
// Wanted where many events ask for one piece of work, such as rebuilding an index.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ index: z.string() });
const rebuilt: string[] = [];

@Injectable()
@Task({ type: 'search.rebuild_index', payload })
class RebuildIndex implements TaskHandler<z.output<typeof payload>> {
  async handle({ index }: z.output<typeof payload>): Promise<void> {
    rebuilt.push(index);
  }
}

it('is one task, however often it is distributed', async () => {
  const { tasks, idle } = await startWorker([RebuildIndex]);
  const options = { unique: { key: 'products' }, processIn: '300ms' } as const;
  const first = await tasks.distribute(RebuildIndex, { index: 'products' }, options);
  const second = await tasks.distribute(RebuildIndex, { index: 'products' }, options);
  expect(second).toEqual({ id: first.id, duplicate: true });
  await idle();
  expect(rebuilt).toEqual(['products']);

  // Once it is done, the key is free.
  expect(await tasks.distribute(RebuildIndex, { index: 'products' }, options)).toMatchObject({ duplicate: false });
});
