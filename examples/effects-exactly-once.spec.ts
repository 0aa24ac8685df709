// What a handler writes in `task.transaction` commits together with the task's end: exactly once, whatever crashes.
// Wanted for every effect in our own database: a balance, a counter, the next step of a process.
import { Injectable } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ account: z.string(), amount: z.number() });
let attempts = 0;

@Injectable()
@Task({ type: 'bank.pay_in', payload, backoff: { type: 'fixed', delay: 50 } })
class PayIn implements TaskHandler<z.output<typeof payload>> {
  async handle({ account, amount }: z.output<typeof payload>, task: TaskContext): Promise<void> {
    await task.transaction(async (manager) => {
      await manager.query('UPDATE account SET balance = balance + $2 WHERE name = $1', [account, amount]);
      attempts += 1;
      // Whatever happens before the commit takes all of it back.
      if (attempts === 1) throw new Error('lost on the way');
    });
    // Here the task is done: what throws from now on changes nothing any more.
  }
}

it('pays in once, although the first attempt had written already', async () => {
  const { tasks, dataSource, idle } = await startWorker([PayIn]);
  await dataSource.query('CREATE TABLE account (name text PRIMARY KEY, balance integer NOT NULL)');
  await dataSource.query(`INSERT INTO account VALUES ('ada', 100)`);
  await tasks.distribute(PayIn, { account: 'ada', amount: 50 });
  await idle();
  expect(attempts).toBe(2);
  expect(await dataSource.query('SELECT balance FROM account')).toEqual([{ balance: 150 }]);
});
