import { TASK_TYPE } from './no-op.task.ts';
import type { Database } from './stack.ts';

/** Writes ledger rows, as the distributor would have, in one statement; numbered from `from`, due in `delay` seconds. */
export async function insertRows(
  database: Database,
  count: number,
  state: 'pending' | 'dispatched',
  from = 0,
  queue = 'default',
  delay = 0,
): Promise<{ id: string; number: number }[]> {
  return database.query(
    `INSERT INTO task (id, type, queue, payload, version, options, state, run_at, dispatched_at, verified_at)
     SELECT uuidv7(), $1, $5, jsonb_build_object('number', number), 1, '{"maxRetry":25,"timeout":1800000}', $2, now() + $6 * interval '1 s',
            CASE WHEN $2 = 'dispatched' THEN now() END, CASE WHEN $2 = 'dispatched' THEN now() END
     FROM generate_series($3::int, $3::int + $4::int - 1) AS number
     RETURNING id, (payload->>'number')::int AS number`,
    [TASK_TYPE, state, from, count, queue, delay],
  );
}
