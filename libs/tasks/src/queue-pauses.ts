import { Injectable } from '@nestjs/common';
import type { Queue } from 'bullmq';
import { DataSource } from 'typeorm';
import { QueuePause } from './task-record.entity.js';
import { TaskQueues } from './queues.js';

/** Which queues an operator has paused: kept in the database, because a flushed Redis forgets it. */
@Injectable()
export class QueuePauses {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queues: TaskQueues,
  ) {}

  /** No worker takes a task of the queue until it is resumed; running ones finish. @throws Error for an unknown queue. */
  async pause(name: string): Promise<void> {
    const queue = this.queues.of(name);
    await this.dataSource.getRepository(QueuePause).upsert({ queue: name, pausedAt: new Date() }, ['queue']);
    await queue.pause();
  }

  /** @throws Error for an unknown queue. */
  async resume(name: string): Promise<void> {
    const queue = this.queues.of(name);
    await this.dataSource.getRepository(QueuePause).delete({ queue: name });
    await queue.resume();
  }

  /** Pauses a queue again whose dispatcher has forgotten it. */
  async restore(queue: Queue): Promise<void> {
    if (await this.dataSource.getRepository(QueuePause).existsBy({ queue: queue.name })) await queue.pause();
  }
}
