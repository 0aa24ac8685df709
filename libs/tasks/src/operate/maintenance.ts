import { Injectable } from '@nestjs/common';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { Election } from '../ledger/election.js';
import { Ledger } from '../ledger/ledger.js';
import { EngineOptions } from '../options.js';
import { TasksPool } from '../ledger/tasks-pool.js';
import { UNCLAIMED } from '../ledger/claims.js';
import { PURGE_ACTIONS } from './action-log.js';
import { LEASE, looksLost } from '../ledger/worker-lease.js';

/** Milliseconds. */
const INTERVAL = 2_000;
const PURGE_INTERVAL = 5_000;
/** How many times in a row a worker must look lost before it is removed. */
const LOOKS = 4;
/** It may look lost so long before its lease runs out, from when on a renewal is overdue: so the looks delay nothing. Milliseconds. */
const LOOK_BEFORE = 11_000;
const PURGE_SIZE = 1_000;
const UNSERVED_INTERVAL = 10_000;

const LOOK = `SELECT id, lease_until::text AS lease, (${looksLost(0)}) AS "isLost" FROM task_worker WHERE ${looksLost(LOOK_BEFORE)}`;
const REMOVE_LOST = `DELETE FROM task_worker WHERE id = ANY($1::int[]) AND ${looksLost(0)} RETURNING id, host, pid`;

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
  /** How many times in a row each worker has looked lost, by its id and its lease. */
  private looks = new Map<string, number>();
  private readonly told = new Set<string>();
  private stopped = false;

  constructor(
    private readonly election: Election,
    private readonly pool: TasksPool,
    private readonly ledger: Ledger,
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

  /**
   * Removes the workers that are lost, so that what they had claimed is void. One look
   * is not enough: where the server itself stood still, everybody's lease has run out
   * as it goes on, and what was sent to it before is carried out first. Whoever lives
   * renews its lease before the last look.
   */
  private async removeLost(): Promise<void> {
    const before = this.looks;
    this.looks = new Map();
    if (this.election.heldFor === undefined) return;
    const suspects = await this.pool.rows<{ id: number; lease: string; isLost: boolean }>(LOOK, [], this.pool.relaxed);
    const key = ({ id, lease }: (typeof suspects)[number]) => `${id} ${lease}`;
    this.looks = new Map(suspects.map((worker) => [key(worker), (before.get(key(worker)) ?? 0) + 1]));
    const lost = suspects.filter((worker) => worker.isLost && this.looks.get(key(worker))! >= LOOKS).map(({ id }) => id);
    // After an outage of the database every lease has run out: whoever lives renews it before this process judges.
    if (lost.length > 0 && (this.election.heldFor ?? 0) >= LEASE) {
      const removed = await this.pool.rows<{ id: number; host: string; pid: number }>(REMOVE_LOST, [lost]);
      for (const worker of removed) this.logger.lost(worker);
    }
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
