import { Queue, type JobsOptions } from 'bullmq';
import { v7 as uuidv7 } from 'uuid';
import { TASK_TYPE } from './no-op.task.ts';
import { Config, jobOf, queueOptions, redisConnection } from './product.ts';

const BATCH = 1_000;

export type ProductJob = ReturnType<typeof jobOf>;

/** As the relay makes one of a ledger row. */
export function productJob(number: number): ProductJob {
  const task = {
    id: uuidv7(),
    type: TASK_TYPE,
    queue: 'default',
    payload: { number },
    version: 1,
    options: { maxRetry: 25, timeout: 1_800_000 },
    requestId: null,
    generation: 0,
    delivery: 0,
    failures: 0,
    createdAt: new Date(),
    keep: false,
    delay: 0,
  };
  return jobOf(task, Date.now());
}

/** As somebody would put it into BullMQ who uses nothing else. */
export function plainJob(number: number): { name: string; data: { number: number } } {
  return { name: 'no_op', data: { number } };
}

/** Adds the jobs to a queue, in their order. */
export async function addAll<Data>(queue: Queue, jobs: readonly { name: string; data: Data; opts?: JobsOptions }[]): Promise<void> {
  for (let start = 0; start < jobs.length; start += BATCH) await queue.addBulk(jobs.slice(start, start + BATCH) as never);
}

/** A queue where the engine of this environment looks for it. */
export function productQueue(environment: Readonly<Record<string, string>>, name: string): Queue {
  const config = Config.parse(environment);
  const options = queueOptions(config.REDIS_PREFIX, name, redisConnection(config.REDIS_ADDRESS!));
  return new Queue(name, { ...options, connection: { ...options.connection, enableOfflineQueue: true } as never });
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, number) => number);
