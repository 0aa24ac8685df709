// A task is distributed in the transaction that makes it true: it runs when that has committed, and never when it has rolled back.
// Wanted wherever something must happen after a write, and only after it.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ orderId: z.string() });
const confirmed: string[] = [];

@Injectable()
@Task({ type: 'shop.confirm_order', payload })
class ConfirmOrder implements TaskHandler<z.output<typeof payload>> {
  async handle({ orderId }: z.output<typeof payload>): Promise<void> {
    confirmed.push(orderId);
  }
}

it('runs what was committed, and nothing that was rolled back', async () => {
  const { tasks, dataSource, idle } = await startWorker([ConfirmOrder]);

  const failure = dataSource.transaction(async (manager) => {
    await tasks.distribute(ConfirmOrder, { orderId: 'refused' }, { manager });
    throw new Error('the card was refused');
  });
  await expect(failure).rejects.toThrow('the card was refused');

  await dataSource.transaction(async (manager) => {
    // … await manager.insert(Order, order) …
    await tasks.distribute(ConfirmOrder, { orderId: 'paid' }, { manager });
  });
  await idle();
  expect(confirmed).toEqual(['paid']);
});
