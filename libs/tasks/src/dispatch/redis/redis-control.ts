import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { describeError } from '@app/redaction';
import { answered, DispatcherUnavailable } from './answered.js';
import { type JobData, jobIdOf } from '../job.js';
import { CANCEL_CHANNEL } from '../../ledger/channels.js';
import { QueuePause } from '../../ledger/task-record.entity.js';
import { DispatchControl, type Dispatched, type QueueCounts } from '../dispatch-control.js';
import { TaskQueues } from './queues.js';
import type { Job } from 'bullmq';

/** How long an operator who looks waits for Redis. Milliseconds. */
const PATIENCE = 2_000;

/**
 * BullMQ on Redis, as operators see it. Which queues are paused is kept in the
 * database, because a flushed Redis forgets it.
 *
 * @throws DispatcherUnavailable when Redis does not answer.
 */
@Injectable()
export class RedisControl extends DispatchControl {
  readonly name = 'redis';

  constructor(
    private readonly dataSource: DataSource,
    private readonly queues: TaskQueues,
  ) {
    super();
  }

  async trouble(): Promise<string | undefined> {
    try {
      await answered(this.queues.ask(), PATIENCE);
      return undefined;
    } catch (error) {
      // Whatever Redis or its connection says: that it takes no tasks.
      const cause = error instanceof DispatcherUnavailable ? '' : `: ${describeError(error).message}`;
      return `Redis does not take tasks${cause}. They wait in the ledger, and run when it does; nothing is lost.`;
    }
  }

  async count(): Promise<ReadonlyMap<string, QueueCounts>> {
    const counts = await Promise.all(
      this.queues.all().map(async (queue): Promise<[string, QueueCounts]> => {
        const { waiting = 0, active = 0, delayed = 0 } = await answered(queue.getJobCounts('waiting', 'active', 'delayed'));
        return [queue.name, { waiting, active, delayed }];
      }),
    );
    return new Map(counts);
  }

  async stateOf(task: Dispatched): Promise<string | undefined> {
    return heard(this.find(task).then((job) => job?.getState()));
  }

  async remove(task: Dispatched, manager: EntityManager): Promise<boolean> {
    // At once, because a job whose task is gone would still make its first attempt.
    const isRunning = await heard(this.removeJob(task));
    if (isRunning) await manager.query(`SELECT pg_notify('${CANCEL_CHANNEL}', $1)`, [task.id]);
    return isRunning;
  }

  /** When Redis does not answer, it takes effect once that is back. */
  async pause(queue: string): Promise<void> {
    await this.dataSource.getRepository(QueuePause).upsert({ queue }, ['queue']);
    await this.restorePauses();
  }

  /** When Redis does not answer, the queue stays paused. */
  async resume(name: string): Promise<void> {
    const queue = this.queues.of(name);
    await this.dataSource.transaction(async (manager) => {
      await manager.delete(QueuePause, { queue: name });
      await answered(queue.resume());
    });
  }

  /** Pauses the queues whose dispatcher has forgotten it, or was never told. The lock keeps one from being paused that is just resumed. */
  async restorePauses(): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      for (const { queue: name } of await manager.find(QueuePause, { lock: { mode: 'pessimistic_write' } })) {
        if (!this.queues.names.includes(name)) continue;
        const queue = this.queues.of(name);
        if (!(await answered(queue.isPaused()))) await answered(queue.pause());
      }
    });
  }

  private async find({ id, generation, queue }: Dispatched): Promise<Job<JobData> | undefined> {
    return this.queues.names.includes(queue) ? this.queues.of(queue).getJob(jobIdOf({ id, generation })) : undefined;
  }

  /** @returns whether a worker runs the job, which then cannot be removed. */
  private async removeJob(task: Dispatched): Promise<boolean> {
    const job = await this.find(task);
    try {
      await job?.remove();
      return false;
    } catch (error) {
      if (/locked/.test((error as Error).message)) return true;
      throw error;
    }
  }
}

/** What Redis answers. @throws DispatcherUnavailable for whatever it, or a connection that is lost, says in place of an answer. */
async function heard<T>(call: Promise<T>): Promise<T> {
  try {
    return await answered(call);
  } catch (error) {
    if (error instanceof DispatcherUnavailable) throw error;
    throw new DispatcherUnavailable(`the dispatcher cannot answer: ${describeError(error).message}`);
  }
}
