// A middleware runs around every handler of a worker: for timing, tracing, the context of a log.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler, type TaskMiddleware } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({});
const told: string[] = [];

@Injectable()
@Task({ type: 'example.measured', payload, maxRetry: 0 })
class Measured implements TaskHandler<object> {
  async handle(): Promise<void> {
    told.push('handler');
  }
}

const measure: TaskMiddleware = async (task, next) => {
  told.push(`begin ${task.type}, attempt ${task.attempt}`);
  try {
    return await next();
  } finally {
    told.push('end');
  }
};

it('surrounds the handler', async () => {
  const { tasks, idle } = await startWorker([Measured], {}, [measure]);
  await tasks.distribute(Measured, {});
  await idle();
  expect(told).toEqual(['begin example.measured, attempt 1', 'handler', 'end']);
});
