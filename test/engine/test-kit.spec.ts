import { Test, type TestingModule } from '@nestjs/testing';
import { Injectable } from '@nestjs/common';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { RetryIn, Task, type TaskContext, TaskDistributor, type TaskHandler } from '@app/tasks';
import { TaskTestKit, TasksTestingModule } from '@app/tasks/testing';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createDatabase, type TestDatabase } from '../support/database.js';

const payload = z.object({ order: z.number(), what: z.enum(['fail', 'put off', 'go on']).optional() });
type Order = z.output<typeof payload>;

const handled: { order: number; attempt: number }[] = [];

@Injectable()
@Task({ type: 'test.ship', payload, maxRetry: 3 })
class Ship implements TaskHandler<Order> {
  constructor(private readonly tasks: TaskDistributor) {}

  async handle({ order, what }: Order, { attempt }: TaskContext): Promise<void> {
    handled.push({ order, attempt });
    if (what === 'fail' && attempt === 1) throw new Error('no truck');
    if (what === 'put off' && handled.filter((call) => call.order === order).length === 1) throw new RetryIn('1h');
    if (what === 'go on') await this.tasks.distribute(Ship, { order: order + 1 });
  }
}

describe('the kit for tests of tasks', () => {
  let database: TestDatabase;
  let app: TestingModule;
  let kit: TaskTestKit;
  let tasks: TaskDistributor;

  beforeAll(async () => {
    database = await createDatabase();
    const config = Config.parse({ DATABASE_URL: database.url });
    app = await Test.createTestingModule({
      imports: [ConfigModule.forRoot(config), DatabaseModule.forRoot(), TasksTestingModule.forRoot(config.tasks)],
      providers: [Ship],
    }).compile();
    await app.init();
    kit = app.get(TaskTestKit);
    tasks = app.get(TaskDistributor);
  });
  afterAll(async () => {
    await app?.close();
    await database?.drop();
  });
  beforeEach(async () => {
    await database.query('DELETE FROM task');
    handled.length = 0;
  });

  it('sees what an open transaction has distributed, and nobody else does until it commits', async () => {
    await app.get(DataSource).transaction(async (manager) => {
      const { id } = await tasks.distribute(Ship, { order: 1 }, { manager, processIn: '1h' });
      const found = await kit.expectDistributed(Ship, { order: 1 }, manager);
      expect(found.id).toBe(id);
      expect(Math.abs(found.runAt.getTime() - Date.now() - 3_600_000)).toBeLessThan(10_000);
      await expect(kit.expectDistributed(Ship, { order: 1 })).rejects.toThrow(/there are:\n {2}none/);
    });
    await kit.expectDistributed(Ship, { order: 1 });
  });

  it('sees nothing of a transaction that rolled back, and says what was distributed instead', async () => {
    await tasks.distribute(Ship, { order: 2 });
    await app
      .get(DataSource)
      .transaction(async (manager) => {
        await tasks.distribute(Ship, { order: 3 }, { manager });
        throw new Error('rolled back');
      })
      .catch(() => undefined);
    await expect(kit.expectDistributed(Ship, { order: 3 })).rejects.toThrow(
      'no test.ship with {"order":3} was distributed; there are:\n  {"order":2}',
    );
    expect(await kit.distributed(Ship)).toMatchObject([{ payload: { order: 2 } }]);
  });

  it('runs what is due, in order, with all that follows from it, and nothing by itself', async () => {
    await tasks.distribute(Ship, { order: 1, what: 'go on' });
    await tasks.distribute(Ship, { order: 7 });
    expect(handled).toEqual([]);
    expect(await kit.drain()).toEqual(Array.from({ length: 3 }, () => ({ type: 'test.ship', outcome: 'completed' })));
    expect(handled.map(({ order }) => order)).toEqual([1, 7, 2]);
    expect(await database.query('SELECT FROM task')).toEqual([]);
    expect(await kit.drain()).toEqual([]);
  });

  it('makes the retries of a task when the clock is moved over their backoff', async () => {
    await tasks.distribute(Ship, { order: 4, what: 'fail' });
    expect(await kit.drain()).toEqual([{ type: 'test.ship', outcome: 'retry' }]);
    expect(await kit.drain()).toEqual([]);
    kit.advance('1m');
    expect(await kit.drain()).toEqual([{ type: 'test.ship', outcome: 'completed' }]);
    expect(handled).toEqual([
      { order: 4, attempt: 1 },
      { order: 4, attempt: 2 },
    ]);
  });

  it('runs what was put off, and what was distributed for later, when its time has come', async () => {
    await tasks.distribute(Ship, { order: 5, what: 'put off' });
    await tasks.distribute(Ship, { order: 6 }, { processIn: '30m' });
    expect(await kit.drain()).toEqual([{ type: 'test.ship', outcome: 'snooze' }]);
    kit.advance('31m');
    expect(await kit.drain()).toEqual([{ type: 'test.ship', outcome: 'completed' }]);
    kit.advance('30m');
    expect(await kit.drain()).toEqual([{ type: 'test.ship', outcome: 'completed' }]);
    expect(handled.map(({ order }) => order)).toEqual([5, 6, 5]);
  });
});
