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
    this.queues.of(name);
    await this.dataSource.getRepository(QueuePause).upsert({ queue: name, pausedAt: new Date() }, ['queue']);
    await this.restore();
  }

  /** @throws Error for an unknown queue; and when the dispatcher does not answer, where the queue stays paused. */
  async resume(name: string): Promise<void> {
    const queue = this.queues.of(name);
    await this.dataSource.transaction(async (manager) => {
      await manager.delete(QueuePause, { queue: name });
      await answered(queue.resume());
    });
  }

  /** Pauses the queues whose dispatcher has forgotten it, or was never told. The lock keeps one from being paused that is just resumed. */
  async restore(): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      for (const { queue: name } of await manager.find(QueuePause, { lock: { mode: 'pessimistic_write' } })) {
        if (!this.queues.names.includes(name)) continue;
        const queue = this.queues.of(name);
        if (!(await answered(queue.isPaused()))) await answered(queue.pause());
      }
    });
  }
}
