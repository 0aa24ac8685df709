import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { answered } from './deadline.js';
import { QueuePause } from './task-record.entity.js';
import { TaskQueues } from './queues.js';

/** Which queues an operator has paused: kept in the database, because a flushed Redis forgets it. */
@Injectable()
export class QueuePauses {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queues: TaskQueues,
  ) {}

  /**
   * No worker takes a task of the queue until it is resumed; running ones finish.
   *
   * @throws Error for an unknown queue; and when the dispatcher does not answer, where it takes effect once that is back.
   */
  async pause(name: string): Promise<void> {
    const queue = this.queues.of(name);
    await this.dataSource.getRepository(QueuePause).upsert({ queue: name, pausedAt: new Date() }, ['queue']);
    await answered(queue.pause());
  }

  /** @throws Error for an unknown queue; and when the dispatcher does not answer, where the queue stays paused. */
  async resume(name: string): Promise<void> {
    await answered(this.queues.of(name).resume());
    await this.dataSource.getRepository(QueuePause).delete({ queue: name });
  }

  /** Pauses the queues again whose dispatcher has forgotten it, or was never told. */
  async restore(): Promise<void> {
    for (const { queue: name } of await this.dataSource.getRepository(QueuePause).find()) {
      if (!this.queues.names.includes(name)) continue;
      const queue = this.queues.of(name);
      if (!(await answered(queue.isPaused()))) await answered(queue.pause());
    }
  }
}
