import { Injectable } from '@nestjs/common';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { Election } from '../ledger/election.js';
import { Ledger } from '../ledger/ledger.js';
import { EngineOptions } from '../options.js';
import { TasksPool } from '../ledger/tasks-pool.js';
import { UNCLAIMED } from '../ledger/claims.js';
import { PURGE_ACTIONS } from './action-log.js';
import { LEASE, PRESENCE_LOCK, SILENCE } from '../ledger/worker-lease.js';

/** Milliseconds. */
const INTERVAL = 2_000;
const PURGE_INTERVAL = 5_000;
/** How long after it was sent the removal of lost workers may still be carried out; shorter than what is left of a lease when its renewal is due. */
const REMOVAL_VALID = 5_000;
const PURGE_SIZE = 1_000;
const UNSERVED_INTERVAL = 10_000;

/**
 * Removes the workers that are lost, so that what they had claimed is void. A lease
 * that has run out alone says little, for the database may have been away from
 * everybody, or the worker's event loop blocked: the worker's connection must be
 * gone besides, or nothing be heard of it for two minutes. And what was sent to a
 * server that then stood still, at $1, is not carried out when it goes on, before
 * those that live could renew their leases.
 */
const REMOVE_LOST = `
  DELETE FROM task_worker WHERE lease_until < now() AND now() < $1::timestamptz + ${REMOVAL_VALID} * interval '1 ms' AND (
    lease_until < now() - ${SILENCE - LEASE} * interval '1 ms' OR NOT EXISTS (
      SELECT FROM pg_locks
      WHERE locktype = 'advisory' AND classid = ${PRESENCE_LOCK} AND objid = task_worker.id AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))
  RETURNING id, host, pid`;

/**
 * The queues, other than those of $1, that hold a task which has been due for a
 * minute. It steps along the index from one queue to the next.
 */
const UNSERVED = `
  WITH RECURSIVE named AS (
    (SELECT queue FROM task WHERE state = 'pending' AND NOT quarantined ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT task.queue FROM task WHERE state = 'pending' AND NOT quarantined AND task.queue > named.queue ORDER BY task.queue LIMIT 1)
    FROM named WHERE named.queue IS NOT NULL)
  SELECT queue FROM named WHERE queue <> ALL($1::text[]) AND EXISTS (
    SELECT FROM task WHERE state = 'pending' AND NOT quarantined AND task.queue = named.queue AND run_at < now() - interval '1 minute' AND ${UNCLAIMED})`;

/** What one process of all does for the ledger: removes lost workers, deletes what has had its time, and says which queues nobody serves. */
@Injectable()
export class Maintenance {
  readonly removing = new Loop(
    () => this.removeLost(),
    INTERVAL,
    (error) => this.logger.trouble('maintenance', error),
  );
  private readonly purging = new Loop(
    () => this.purge(),
    PURGE_INTERVAL,
    (error) => this.logger.trouble('purge', error),
  );
  private readonly looking = new Loop(
    () => this.lookForUnserved(),
    UNSERVED_INTERVAL,
    (error) => this.logger.trouble('queues', error),
  );
  private readonly told = new Set<string>();
  private stopped = false;

  constructor(
    private readonly election: Election,
    private readonly pool: TasksPool,
    private readonly ledger: Ledger,
    private readonly clock: DatabaseClock,
    private readonly options: EngineOptions,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.removing.start();
    this.purging.start();
    this.looking.start();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all([this.removing.stop(), this.purging.stop(), this.looking.stop()]);
  }

  private async removeLost(): Promise<void> {
    // After an outage of the database every lease has run out: whoever lives renews it before this process judges.
    if ((this.election.heldFor ?? 0) < LEASE) return;
    const sentAt = new Date(this.clock.now());
    const lost = await this.pool.rows<{ id: number; host: string; pid: number }>(REMOVE_LOST, [sentAt]);
    for (const worker of lost) this.logger.lost(worker);
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
    await this.pool.change(PURGE_ACTIONS, []);
    this.logger.well('purge');
  }

  /** Each is said once a process. */
  private async lookForUnserved(): Promise<void> {
    if (this.election.heldFor === undefined) return;
    const { queueNames } = this.options;
    for (const { queue } of await this.pool.rows<{ queue: string }>(UNSERVED, [queueNames])) {
      if (!this.told.has(queue)) this.logger.unserved(queue, queueNames);
      this.told.add(queue);
    }
    this.logger.well('queues');
  }
}
