import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { CANCEL_CHANNEL, PAUSE_CHANNEL, TASK_CHANNEL } from '../ledger/channels.js';
import { QueuePause } from '../ledger/task-record.entity.js';
import { DispatchControl, type Dispatched, type QueueCounts } from './dispatch-control.js';

/** The ledger as a dispatcher, as operators see it: the rows say everything. */
@Injectable()
export class LedgerControl extends DispatchControl {
  readonly name = 'ledger';

  constructor(private readonly dataSource: DataSource) {
    super();
  }

  async trouble(): Promise<undefined> {}

  async count(): Promise<ReadonlyMap<string, QueueCounts>> {
    const rows = await this.dataSource.query<(QueueCounts & { queue: string })[]>(
      `SELECT queue, count(*) FILTER (WHERE claimed_by IS NULL AND run_at <= now())::int AS waiting,
              count(*) FILTER (WHERE claimed_by IS NOT NULL)::int AS active,
              count(*) FILTER (WHERE claimed_by IS NULL AND run_at > now())::int AS delayed
       FROM task WHERE state = 'pending' GROUP BY queue`,
    );
    return new Map(rows.map(({ queue, ...counts }) => [queue, counts]));
  }

  async stateOf({ id }: Dispatched): Promise<string | undefined> {
    const [row] = await this.dataSource.query<{ state: string }[]>(
      `SELECT CASE WHEN claimed_by IN (SELECT id FROM task_worker) THEN 'active' WHEN run_at > now() THEN 'delayed' ELSE 'waiting' END AS state
       FROM task WHERE id = $1 AND state = 'pending'`,
      [id],
    );
    return row?.state;
  }

  async remove({ id, claimedBy }: Dispatched, manager: EntityManager): Promise<boolean> {
    if (claimedBy === null) return false;
    await manager.query(`SELECT pg_notify('${CANCEL_CHANNEL}', $1)`, [id]);
    return true;
  }

  async pause(queue: string): Promise<void> {
    await this.dataSource.getRepository(QueuePause).upsert({ queue }, ['queue']);
    await this.dataSource.query(`SELECT pg_notify('${PAUSE_CHANNEL}', $1)`, [queue]);
  }

  async resume(queue: string): Promise<void> {
    await this.dataSource.getRepository(QueuePause).delete({ queue });
    await this.dataSource.query(`SELECT pg_notify('${TASK_CHANNEL}', $1)`, [queue]);
  }
}
