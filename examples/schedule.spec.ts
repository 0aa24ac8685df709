// A task with a schedule runs by itself: once a tick, however many workers there are.
// Wanted for what has no caller: cleaning up, reports, reminders.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventually, startWorker } from './support/worker.js';

const runs: number[] = [];

@Injectable()
@Task({ type: 'reports.refresh', payload: z.object({}), schedule: { cron: '* * * * * *', timezone: 'Europe/Berlin' } })
class RefreshReports implements TaskHandler<object> {
  async handle(): Promise<void> {
    runs.push(Date.now());
  }
}

it('runs once a tick', async () => {
  await startWorker([RefreshReports]);
  const begin = Date.now();
  await eventually(() => runs.length >= 2);
  expect(runs.length).toBeLessThanOrEqual(1 + (Date.now() - begin) / 1_000);
});
