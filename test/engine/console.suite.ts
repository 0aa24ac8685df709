import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Task, TaskAdmin, type TaskContext, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createEngine, type Dispatcher, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string(), note: z.string().optional() });
type Payload = z.output<typeof payload>;

/** What the handler below does for a key. */
const scripts = new Map<string, (task: TaskContext) => unknown>();

@Injectable()
@Task({ type: 'console.scripted', payload, maxRetry: 1, backoff: { type: 'fixed', delay: 20 } })
class Scripted implements TaskHandler<Payload> {
  async handle({ key }: Payload, task: TaskContext): Promise<unknown> {
    return scripts.get(key)?.(task);
  }
}

/** What the operator's console asks of the engine and tells it: one suite for every dispatcher. */
export function describeConsole(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`the console's engine on ${dispatcher}`, { timeout: 60_000 }, () => {
    let engine: TestEngine;
    let tasks: TaskDistributor;
    let admin: TaskAdmin;
    beforeAll(async () => {
      engine = await createEngine(dispatcher);
      const worker = await engine.worker([Scripted], { QUEUE_WEIGHTS: 'critical=10,default=5', WORKER_CONCURRENCY: '7' });
      tasks = worker.get(TaskDistributor, { strict: false });
      // As an operator's tool: it sees what the ledger says, and nothing of the worker's memory.
      const tool = await engine.admin([Scripted]);
      admin = tool.get(TaskAdmin, { strict: false });
    });
    afterAll(() => engine?.close());

    /** Distributes a task that runs until it is let go. */
    const held = async () => {
      const key = randomUUID();
      const { promise, resolve: letGo } = Promise.withResolvers<void>();
      scripts.set(key, () => promise);
      const { id } = await tasks.distribute(Scripted, { key });
      return { id, letGo };
    };

    describe('workers', () => {
      it('show where they run, what they serve, and what they run now and since when', async () => {
        const task = await held();
        try {
          const worker = await eventually(async () =>
            (await admin.workers()).find(({ running }) => running.some(({ id }) => id === task.id)),
          );
          expect(worker).toMatchObject({ host: hostname(), pid: process.pid, alive: true, slots: 7, queues: { critical: 10, default: 5 } });
          expect(worker.inUse).toBe(worker.running.length);
          const [running] = worker.running.filter(({ id }) => id === task.id);
          expect(running).toMatchObject({ type: 'console.scripted', queue: 'default' });
          expect(Math.abs(Date.now() - running!.since.getTime())).toBeLessThan(15_000);
          expect(worker.heardAt.getTime()).toBeGreaterThanOrEqual(worker.startedAt.getTime() - 1);
        } finally {
          task.letGo();
        }
        await eventually(async () => (await admin.workers())[0]?.inUse === 0);
      });

      it('of the release before, which says nothing of itself, are shown all the same', async () => {
        await engine.database.query(
          `INSERT INTO task_worker (host, pid, lease_until) VALUES ('elsewhere', 7, now() + interval '1 minute')`,
        );
        const old = (await admin.workers()).find(({ host }) => host === 'elsewhere');
        expect(old).toMatchObject({ alive: true, version: null, queues: null, slots: null, inUse: null, running: [] });
        await engine.database.query(`DELETE FROM task_worker WHERE host = 'elsewhere'`);
      });
    });
  });
}
