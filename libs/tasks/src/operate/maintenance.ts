import { Injectable } from '@nestjs/common';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { Election } from '../ledger/election.js';
import { Ledger } from '../ledger/ledger.js';
import { TasksPool } from '../ledger/tasks-pool.js';
import { LEASE, PRESENCE_LOCK } from '../ledger/worker-lease.js';

/** Milliseconds. */
const INTERVAL = 2_000;
const PURGE_INTERVAL = 5_000;
const PURGE_SIZE = 1_000;

/** After so long without a renewal a worker is taken for dead although its connection is there: a process that hangs. Milliseconds. */
const SILENCE = 120_000;

/**
 * Removes the workers that are lost, so that what they had claimed is void. A lease
 * that has run out alone says little, for the database may have been away from
 * everybody, or the worker's event loop blocked: the worker's connection must be
 * gone besides, or nothing be heard of it for two minutes.
 */
const REMOVE_LOST = `
  DELETE FROM task_worker WHERE lease_until < now() AND (
    lease_until < now() - ${SILENCE - LEASE} * interval '1 ms' OR NOT EXISTS (
      SELECT FROM pg_locks
      WHERE locktype = 'advisory' AND classid = ${PRESENCE_LOCK} AND objid = task_worker.id AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
  RETURNING id, host, pid`;

/** What one process of all does for the ledger: removes lost workers, and deletes what has had its time. */
@Injectable()
export class Maintenance {
  private readonly removing = new Loop(
    () => this.removeLost(),
    INTERVAL,
    (error) => this.logger.trouble('maintenance', error),
  );
  private readonly purging = new Loop(
    () => this.purge(),
    PURGE_INTERVAL,
    (error) => this.logger.trouble('purge', error),
  );
  private stopped = false;

  constructor(
    private readonly election: Election,
    private readonly pool: TasksPool,
    private readonly ledger: Ledger,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.removing.start();
    this.purging.start();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all([this.removing.stop(), this.purging.stop()]);
  }

  private async removeLost(): Promise<void> {
    // After an outage of the database every lease has run out: whoever lives renews it before this process judges.
    if ((this.election.heldFor ?? 0) < LEASE) return;
    for (const worker of await this.pool.rows<{ id: number; host: string; pid: number }>(REMOVE_LOST)) this.logger.lost(worker);
    this.logger.well('maintenance');
  }

  /** Apart from the rest, since it may take long when much has had its time. */
  private async purge(): Promise<void> {
    if (this.election.heldFor === undefined) return;
    let count: number;
    let last: Date | undefined;
    do {
      ({ count, last } = await this.ledger.purgeCompleted(PURGE_SIZE, last));
    } while (count === PURGE_SIZE && !this.stopped);
    this.logger.well('purge');
  }
}
