import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { EngineOptions } from '../../options.js';
import { queueOptions, redisConnection } from './connection.js';
import { TaskQueue } from './task-queue.js';

/** A field of a queue's metadata in BullMQ; what it holds is of no interest. */
const ASKED = 'waybill-asked';

/** The engine's queues in BullMQ, by name; none where there is no Redis. */
@Injectable()
export class TaskQueues implements OnApplicationShutdown {
  readonly names: readonly string[];
  private readonly queues = new Map<string, TaskQueue>();

  constructor({ redis, queueNames }: EngineOptions) {
    this.names = queueNames;
    if (redis === undefined) return;
    const connection = redisConnection(redis.url);
    for (const name of queueNames) this.queues.set(name, new TaskQueue(name, queueOptions(redis.prefix, name, connection)));
  }

  /** After the engine has stopped, which uses them to its end. */
  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.all().map((queue) => queue.close()));
  }

  /** @throws Error when no queue of that name is configured. */
  of(name: string): TaskQueue {
    const queue = this.queues.get(name);
    if (!queue) throw new Error(`the queue "${name}" is not one of this app's (${this.names.join(', ')})`);
    return queue;
  }

  all(): TaskQueue[] {
    return [...this.queues.values()];
  }

  /** Resolves when the dispatcher takes tasks: asked by a write, which one that is full, read-only or away refuses. */
  async ask(): Promise<void> {
    await Promise.all(this.all().map((queue) => queue.getBackend().setQueueMeta({ [ASKED]: Date.now() })));
  }
}
