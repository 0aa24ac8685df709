import type { DataSource } from 'typeorm';
import type { WorkerRecord } from '../ledger/task-record.entity.js';
import { LEASE } from '../ledger/worker-lease.js';
import type { WorkerView } from './views.js';

/** More workers than that are not shown. */
const MOST = 500;

/** A worker that is heard of, in SQL. */
export const LIVING = 'lease_until > now()';

/** What runs, by the ids of tasks: as the living workers have shown it last. */
export const RUNNING = `
  SELECT (shown->>'id')::uuid AS id, task_worker.id AS worker, to_timestamp((shown->>'since')::float8 / 1000) AS since
  FROM task_worker CROSS JOIN jsonb_array_elements(running) AS shown WHERE ${LIVING}`;

/** Every worker that is there, the oldest first. */
export async function findWorkers(dataSource: DataSource): Promise<WorkerView[]> {
  const rows = await dataSource.query<(WorkerRecord & { heardAt: Date; alive: boolean })[]>(
    `SELECT id, host, pid, version, started_at AS "startedAt", lease_until - ${LEASE} * interval '1 ms' AS "heardAt", ${LIVING} AS alive,
            queues, slots, busy, running
     FROM task_worker ORDER BY id LIMIT ${MOST}`,
  );
  return rows.map(({ busy, running, queues, ...worker }) => ({
    ...worker,
    queues: queues && Object.fromEntries(Object.entries(queues).toSorted(([, a], [, b]) => b - a)),
    inUse: busy && Object.values(busy).reduce((sum, count) => sum + count, 0),
    running: (running ?? []).map((task) => ({ ...task, since: new Date(task.since) })),
  }));
}
