// In the tests of a team the kit stands in for the workers: one sees what was distributed, and runs it here and now.
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Task, TaskDistributor, type TaskHandler } from '@app/tasks';
import { TasksTestingModule, TaskTestKit } from '@app/tasks/testing';
import { expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { createDatabase } from '../test/support/database.js';

const payload = z.object({ userId: z.string() });
const reminded: string[] = [];

@Injectable()
@Task({ type: 'people.remind', payload })
class Remind implements TaskHandler<z.output<typeof payload>> {
  async handle({ userId }: z.output<typeof payload>): Promise<void> {
    reminded.push(userId);
  }
}

it('sees what was distributed, and runs it without waiting', async () => {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  const app = await Test.createTestingModule({
    imports: [
      TypeOrmModule.forRoot({ type: 'postgres', url: database.url, autoLoadEntities: true }),
      TasksTestingModule.forRoot({ database: { url: database.url } }),
    ],
    providers: [Remind],
  }).compile();
  await app.init();
  onTestFinished(() => app.close());
  const kit = app.get(TaskTestKit);

  await app.get(TaskDistributor).distribute(Remind, { userId: 'ada' }, { processIn: '1d' });
  await kit.expectDistributed(Remind, { userId: 'ada' });
  expect(await kit.drain()).toEqual([]);
  kit.advance('1d');
  expect(await kit.drain()).toEqual([{ type: 'people.remind', outcome: 'completed' }]);
  expect(reminded).toEqual(['ada']);
});
