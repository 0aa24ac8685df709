// A task that cannot succeed is buried where an operator sees it; once the cause is gone, it is redriven with all of its retries.
// `onDead` tells the rest of the system, in the transaction that buries.
import { Injectable } from '@nestjs/common';
import { type DeadTask, Task, type TaskHandler } from '@app/tasks';
import type { EntityManager } from 'typeorm';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ order: z.string() });
let isBroken = true;
const shipped: string[] = [];

@Injectable()
@Task({ type: 'shop.ship_order', payload, maxRetry: 1, backoff: { type: 'fixed', delay: 20 } })
class ShipOrder implements TaskHandler<z.output<typeof payload>> {
  async handle({ order }: z.output<typeof payload>): Promise<void> {
    if (isBroken) throw new Error('the carrier does not answer');
    shipped.push(order);
  }

  async onDead({ order }: z.output<typeof payload>, { reason }: DeadTask, manager: EntityManager): Promise<void> {
    await manager.query('INSERT INTO problem VALUES ($1, $2)', [order, reason]);
  }
}

it('is buried, told of, and brought back', async () => {
  const { tasks, admin, dataSource, idle } = await startWorker([ShipOrder]);
  await dataSource.query('CREATE TABLE problem ("order" text, reason text)');
  await tasks.distribute(ShipOrder, { order: '7' });
  await idle();
  expect(await admin.list({ state: 'dead' }, 10)).toMatchObject([{ failures: 2, error: 'the carrier does not answer' }]);
  expect(await dataSource.query('SELECT * FROM problem')).toEqual([{ order: '7', reason: 'retries exhausted' }]);

  isBroken = false;
  expect(await admin.redrive({ error: 'carrier' }, { dryRun: true })).toEqual({ redriven: 1, skipped: 0 });
  await admin.redrive({ error: 'carrier' }, { rate: 50 });
  await idle();
  expect(shipped).toEqual(['7']);
});
