// Many tasks in few statements, in the transaction that makes them true: all of them or none.
// Wanted for a newsletter, an import, a nightly run over all accounts.
import { Injectable } from '@nestjs/common';
import { InvalidTask, Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ account: z.int().positive() });
const billed = new Set<number>();

@Injectable()
@Task({ type: 'billing.bill_account', payload })
class BillAccount implements TaskHandler<z.output<typeof payload>> {
  async handle({ account }: z.output<typeof payload>): Promise<void> {
    billed.add(account);
  }
}

it('distributes all of them or none', async () => {
  const { tasks, idle } = await startWorker([BillAccount]);
  const accounts = Array.from({ length: 1_000 }, (_, number) => ({ account: number + 1 }));

  // The last one cannot be: nothing is written.
  await expect(tasks.distributeMany(BillAccount, [...accounts, { account: -1 }])).rejects.toThrow(InvalidTask);
  await idle();
  expect(billed.size).toBe(0);

  const unique = { key: ({ account }: { account: number }) => `2026-11:${account}` };
  await tasks.distributeMany(BillAccount, accounts, { unique, processIn: '6s' });
  // Whoever does it again, while they wait, distributes nothing.
  const again = await tasks.distributeMany(BillAccount, accounts, { unique });
  expect(again.every(({ duplicate }) => duplicate)).toBe(true);
  await idle();
  expect(billed.size).toBe(1_000);
});
