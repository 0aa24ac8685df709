import { Injectable } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import type { PendingTask } from './ledger.js';
import { TasksPool } from './tasks-pool.js';

/** How many pending tasks of a queue are taken at a time. */
export const HANDOVER_SIZE = 500;

/** The pending tasks of each queue, along the index that `quarantine` names. */
const pending = (quarantine: string) => `
  SELECT pending.id FROM unnest($1::text[]) AS served (queue) CROSS JOIN LATERAL (
    SELECT id FROM task
    WHERE state = 'pending' AND ${quarantine} AND task.queue = served.queue AND (claimed_by IS NULL OR claimed_by NOT IN (SELECT id FROM task_worker))
    ORDER BY run_at, id LIMIT ${HANDOVER_SIZE} FOR UPDATE SKIP LOCKED) AS pending`;

/**
 * Takes pending tasks of the queues $1 and marks them. What is left of a claim, by
 * which a worker had one from the ledger when there was no Redis, can commit nothing.
 * Its delivery goes with a task: BullMQ may have it, for the mark of an earlier
 * handover may have been lost, or may have had it, and counts on from there.
 */
const HAND_OVER = `
  WITH handed AS (
    UPDATE task SET state = 'dispatched', dispatched_at = now(), verified_at = clock_timestamp(), claimed_by = NULL, quarantined = false
    WHERE id = ANY(ARRAY(${pending('NOT quarantined')}) || ARRAY(${pending('quarantined')}))
    RETURNING id, type, queue, payload, version, options, request_id AS "requestId", generation, delivery, failures, created_at AS "createdAt",
      (options ? 'retention' OR unique_until IS NOT NULL) AS keep, run_at,
      GREATEST(0, ceil(EXTRACT(epoch FROM run_at - clock_timestamp()) * 1000))::float8 AS delay)
  SELECT * FROM handed ORDER BY run_at, id`;

/** Hands tasks of the ledger over to a dispatcher that keeps them itself. */
@Injectable()
export class Handover {
  constructor(private readonly pool: TasksPool) {}

  /**
   * Takes up to {@link HANDOVER_SIZE} pending tasks of each queue, marks them, and
   * lets `dispatch` put them into BullMQ, in one transaction: when that fails they
   * are pending again, and a crash before the commit repeats the batch. The commit
   * need not wait for the disk: a mark that a crash of the server takes back has
   * the task added again, and the job id makes that harmless.
   *
   * @returns how many there were.
   */
  async dispatchPending(queues: readonly string[], dispatch: (tasks: PendingTask[]) => Promise<void>): Promise<number> {
    const connection = await this.pool.relaxed.connect();
    let failure: Error | undefined;
    try {
      // A relay whose connection has died would keep its tasks locked for as long as the server waits for it, of which the dispatcher is given 5 s.
      await connection.query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 10000');
      const { rows: tasks } = await connection.query<PendingTask>(HAND_OVER, [queues]);
      if (tasks.length > 0) {
        await faultPoint('relay.after-claim');
        await dispatch(tasks);
        await faultPoint('relay.before-mark');
      }
      await connection.query('COMMIT');
      return tasks.length;
    } catch (error) {
      await connection.query('ROLLBACK').catch((lost: Error) => (failure = lost));
      throw error;
    } finally {
      connection.release(failure);
    }
  }
}
