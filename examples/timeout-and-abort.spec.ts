// An attempt that takes too long is told so by its signal, and has failed; the next one may be quicker.
// Wanted wherever a handler waits for somebody else.
import { setTimeout as wait } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ url: z.string() });
const attempts: string[] = [];

@Injectable()
@Task({ type: 'pages.fetch', payload, timeout: '200ms', backoff: { type: 'fixed', delay: 20 } })
class FetchPage implements TaskHandler<z.output<typeof payload>> {
  async handle(_: z.output<typeof payload>, { attempt, signal }: TaskContext): Promise<void> {
    if (attempt > 1) return void attempts.push('quick');
    // In place of fetch(url, { signal }) from a server that hangs.
    await wait(60_000, undefined, { signal }).catch((error: unknown) => {
      attempts.push('aborted');
      throw error;
    });
  }
}

it('aborts what takes too long, and tries again', async () => {
  const { tasks, idle } = await startWorker([FetchPage]);
  await tasks.distribute(FetchPage, { url: 'https://example.com' });
  await idle();
  expect(attempts).toEqual(['aborted', 'quick']);
});
