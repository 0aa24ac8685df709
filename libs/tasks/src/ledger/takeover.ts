import { Injectable } from '@nestjs/common';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { Election } from './election.js';
import { TasksPool } from './tasks-pool.js';

/** Milliseconds. */
const INTERVAL = 5_000;
const CHUNK = 1_000;

/**
 * How long a task that was in BullMQ is left to a worker of the last deployment,
 * which may be running it: longer than such a worker takes to end. Milliseconds.
 */
const GRACE = 20_000;

const TAKE_OVER = `
  UPDATE task SET state = 'pending', run_at = GREATEST(run_at, now() + $1::float8 * interval '1 ms')
  WHERE id = ANY(ARRAY(SELECT id FROM task WHERE state = 'dispatched' ORDER BY verified_at LIMIT ${CHUNK} FOR UPDATE SKIP LOCKED))`;

/**
 * Takes tasks over that were handed to BullMQ, when the deployment had another
 * dispatcher: an earlier release's, in this database, or Redis. From now on the
 * ledger hands them out itself.
 */
@Injectable()
export class Takeover {
  private readonly loop = new Loop(
    () => this.takeOver(),
    INTERVAL,
    (error) => this.logger.trouble('takeover', error),
  );
  private stopped = false;

  constructor(
    private readonly election: Election,
    private readonly pool: TasksPool,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.loop.start();
  }

  stop(): Promise<void> {
    this.stopped = true;
    return this.loop.stop();
  }

  private async takeOver(): Promise<void> {
    if (this.election.heldFor === undefined) return;
    let count: number;
    do {
      count = await this.pool.change(TAKE_OVER, [GRACE]);
      if (count > 0) this.logger.takenOver(count);
    } while (count === CHUNK && !this.stopped);
    this.logger.well('takeover');
  }
}
