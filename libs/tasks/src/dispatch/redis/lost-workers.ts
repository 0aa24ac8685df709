import { Injectable } from '@nestjs/common';
import { Election } from '../../ledger/election.js';
import { TasksPool } from '../../ledger/tasks-pool.js';
import { LEASE } from '../../ledger/worker-lease.js';
import { Loop } from '../../loop.js';
import { TaskLogger } from '../../task-logger.js';
import { answered } from './answered.js';
import { TaskQueues } from './queues.js';

/** Milliseconds. */
const INTERVAL = 2_000;
/** How often all jobs are looked at, for a worker that went while nobody was elected. */
const WHOLE_INTERVAL = 30_000;

/**
 * Says to BullMQ on Redis which workers are lost. Its locks alone cannot tell: one
 * runs out also while Redis is away, or while a handler blocks its process. So they
 * last long, and those of a worker that is no more in `task_worker` are taken away.
 * One process of all does it.
 */
@Injectable()
export class LostWorkers {
  private readonly loop = new Loop(
    () => this.look(),
    INTERVAL,
    (error) => this.logger.trouble('lost workers', error),
  );
  private known = new Set<string>();
  private lookedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly pool: TasksPool,
    private readonly queues: TaskQueues,
    private readonly election: Election,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async look(): Promise<void> {
    // After an outage of the database whoever lives registers again before this process judges.
    if ((this.election.heldFor ?? 0) < LEASE) return;
    const present = await this.present();
    const now = performance.now();
    if ([...this.known].some((id) => !present.has(id)) || now - this.lookedAt > WHOLE_INTERVAL) {
      for (const queue of this.queues.all()) await answered(queue.unlockLost(() => this.present()));
      this.lookedAt = now;
    }
    this.known = present;
    this.logger.well('lost workers');
  }

  private async present(): Promise<Set<string>> {
    const workers = await this.pool.rows<{ id: number }>('SELECT id FROM task_worker', [], this.pool.relaxed);
    return new Set(workers.map(({ id }) => String(id)));
  }
}
