// Tasks of yesterday's release are still in the queue when today's is deployed: `upcast` brings their payloads up.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ firstName: z.string(), lastName: z.string() });
const greeted: string[] = [];

@Injectable()
@Task({
  type: 'people.greet',
  payload,
  version: 2,
  upcast: (old) => {
    const [firstName, lastName] = z.object({ name: z.string() }).parse(old).name.split(' ');
    return { firstName, lastName };
  },
})
class Greet implements TaskHandler<z.output<typeof payload>> {
  async handle({ firstName, lastName }: z.output<typeof payload>): Promise<void> {
    greeted.push(`${firstName} of the ${lastName}s`);
  }
}

it('runs what an older release has distributed', async () => {
  const { tasks, dataSource, idle } = await startWorker([Greet]);
  await dataSource.transaction(async (manager) => {
    const { id } = await tasks.distribute(Greet, { firstName: 'Grace', lastName: 'Hopper' }, { manager });
    // As the release before has written it.
    await manager.query(`UPDATE task SET version = 1, payload = '{"name": "Ada Lovelace"}' WHERE id = $1`, [id]);
  });
  await idle();
  expect(greeted).toEqual(['Ada of the Lovelaces']);
});
