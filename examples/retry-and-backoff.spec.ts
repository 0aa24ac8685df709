// An attempt that throws is made again, after a time that grows with the failures, until there are no retries left.
// Wanted for whatever fails for a while: a service that is away, a lock, a limit.
import { Injectable } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ invoice: z.string() });
const attempts: { attempt: number; at: number }[] = [];

@Injectable()
@Task({ type: 'billing.send_invoice', payload, maxRetry: 3, backoff: { type: 'exponential', delay: 100, max: 60_000 } })
class SendInvoice implements TaskHandler<z.output<typeof payload>> {
  async handle(_: z.output<typeof payload>, { attempt }: TaskContext): Promise<void> {
    attempts.push({ attempt, at: performance.now() });
    if (attempt < 3) throw new Error('the printer is out of paper');
  }
}

it('tries again, later each time', async () => {
  const { tasks, idle } = await startWorker([SendInvoice]);
  await tasks.distribute(SendInvoice, { invoice: '2026-1' });
  await idle();
  expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  const [first, second, third] = attempts.map(({ at }) => at);
  expect(second! - first!).toBeGreaterThanOrEqual(100);
  expect(third! - second!).toBeGreaterThanOrEqual(200);
});
