// A project adds queues of its own, with weights, and slots that no other queue takes.
// Wanted where some work must never wait behind other work.
import { setTimeout as wait } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { eventually, startWorker } from './support/worker.js';

declare module '@app/tasks' {
  interface Queues {
    reports: true;
  }
}

const payload = z.object({ name: z.string() });
const began: string[] = [];
const release = new AbortController();

@Injectable()
@Task({ type: 'reports.write', queue: 'reports', payload })
class WriteReport implements TaskHandler<z.output<typeof payload>> {
  async handle({ name }: z.output<typeof payload>): Promise<void> {
    began.push(name);
    await wait(60_000, undefined, { signal: release.signal }).catch(() => undefined);
  }
}

@Injectable()
@Task({ type: 'alarms.ring', queue: 'critical', payload })
class RingAlarm implements TaskHandler<z.output<typeof payload>> {
  async handle({ name }: z.output<typeof payload>): Promise<void> {
    began.push(name);
  }
}

it('begins an alarm at once, although reports would fill every slot', async () => {
  const environment = { QUEUE_WEIGHTS: 'critical=10:min=1,reports=1', WORKER_CONCURRENCY: '3' };
  const { tasks, idle } = await startWorker([WriteReport, RingAlarm], environment);
  await tasks.distributeMany(
    WriteReport,
    ['a', 'b', 'c', 'd'].map((name) => ({ name })),
  );
  await eventually(() => began.length === 2);
  await tasks.distribute(RingAlarm, { name: 'alarm' });
  await eventually(() => began.includes('alarm'));
  // Two reports run, the other two wait: the third slot is the alarms'.
  expect(began).toHaveLength(3);
  release.abort();
  await idle();
  expect(began).toHaveLength(5);
});
