import { escapeLiteral } from 'pg';
import type { DataSource } from 'typeorm';
import { LIVING } from './workers.js';
import type { Count } from './views.js';

/** Up to how many tasks are counted; beyond that the planner is asked. */
export const COUNTED = 10_000;

/** How many queues, and groups of the dead, are looked at; whatever is beyond that is not shown. */
const MOST_QUEUES = 200;

/** How many of each there are in a queue. */
export interface QueueCount {
  queue: string;
  ready: Count;
  running: Count;
  delayed: Count;
  dead: Count;
  /** Milliseconds that the oldest ready task has been due; 0 when there is none. */
  latency: number;
}

/** The partial indexes in whose order the tasks of a queue stand that are to run: the condition of each. */
export const TO_RUN = [`state = 'pending' AND NOT quarantined`, `state = 'pending' AND quarantined`, `state = 'dispatched'`] as const;
const DEAD = `state = 'dead'`;

/** The queues in an index that begins with them: one step for each, whatever there is in it. */
const queuesWhere = (condition: string, name: string) => `
  ${name} AS (
    (SELECT queue FROM task WHERE ${condition} ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT task.queue FROM task WHERE ${condition} AND task.queue > ${name}.queue ORDER BY task.queue LIMIT 1)
    FROM ${name} WHERE ${name}.queue IS NOT NULL)`;

/** SQL of all queues that hold a task which is to run or is dead, beside those of $1; as the table `named`. */
export const NAMED_QUEUES = `
  WITH RECURSIVE ${[...TO_RUN, DEAD].map((condition, index) => queuesWhere(condition, `named_${index}`)).join(',')},
  named AS (
    SELECT unnest($1::text[]) AS queue
    ${[...TO_RUN, DEAD].map((_, index) => `UNION SELECT queue FROM named_${index} WHERE queue IS NOT NULL`).join(' ')}
    LIMIT ${MOST_QUEUES})`;

const counted = (condition: string) =>
  `(SELECT count(*) FROM (SELECT FROM task WHERE ${condition} AND task.queue = named.queue LIMIT ${COUNTED + 1}) AS met)::int`;
const sum = (more: string) => TO_RUN.map((condition) => counted(`${condition} AND ${more}`)).join(' + ');

/** When the oldest task became due that no worker has: those that run are before it in the index, and not more than there are slots. */
const OLDEST = `least(${TO_RUN.map(
  (condition) => `(SELECT run_at FROM task
     WHERE ${condition} AND task.queue = named.queue AND run_at <= now() AND (claimed_by IS NULL OR claimed_by NOT IN (SELECT id FROM task_worker))
       AND id NOT IN (SELECT (shown->>'id')::uuid FROM task_worker CROSS JOIN jsonb_array_elements(running) AS shown WHERE ${LIVING})
     ORDER BY run_at LIMIT 1)`,
).join(', ')})`;

const COUNTS = `${NAMED_QUEUES}
  SELECT queue, ${sum('run_at <= now()')} AS due, ${sum('run_at > now()')} AS delayed, ${counted(DEAD)} AS dead,
    COALESCE((SELECT sum((busy->>named.queue)::int) FROM task_worker WHERE ${LIVING}), 0)::int AS running,
    COALESCE(EXTRACT(epoch FROM now() - ${OLDEST}) * 1000, 0)::float8 AS latency
  FROM named ORDER BY queue`;

/**
 * How many tasks are in every queue, read off the ledger alone, on either
 * dispatcher. It reads at most some 10,000 entries of an index for each figure.
 *
 * @param queues those that are to be in it even when nothing is in them.
 */
export async function countQueues(dataSource: DataSource, queues: readonly string[]): Promise<QueueCount[]> {
  const rows = await dataSource.query<{ queue: string; due: number; delayed: number; dead: number; running: number; latency: number }[]>(
    COUNTS,
    [queues],
  );
  return Promise.all(
    rows.map(async ({ queue, running, latency, ...found }) => {
      const ofQueue = `queue = ${escapeLiteral(queue)}`;
      const count = (least: number, condition: string) => estimated(dataSource, least, `${condition} AND ${ofQueue}`);
      const toRun = `state IN ('pending', 'dispatched')`;
      const due = await count(found.due, `${toRun} AND run_at <= now()`);
      return {
        queue,
        // What runs is due as well.
        ready: { ...due, count: Math.max(0, due.count - running) },
        running: { count: running, exact: true },
        delayed: await count(found.delayed, `${toRun} AND run_at > now()`),
        dead: await count(found.dead, DEAD),
        latency: Math.max(0, Math.round(latency)),
      };
    }),
  );
}

/** What was counted, or where that came to its end, what the planner takes there to be. @param condition SQL without parameters. */
export async function estimated(dataSource: DataSource, counted: number, condition: string): Promise<Count> {
  if (counted <= COUNTED) return { count: counted, exact: true };
  return inexact(COUNTED, await plannedRows(dataSource, condition));
}

/** A count that came to its end before the tasks did. @param planned how many the planner takes there to be. */
export function inexact(counted: number, planned: number): Count {
  return planned > counted ? { count: planned, exact: false } : { count: counted, exact: false, more: true };
}

/** The sum of two counts. */
export function sumOf(a: Count, b: Count): Count {
  return { count: a.count + b.count, exact: a.exact && b.exact, ...((a.more || b.more) && { more: true }) };
}

/** `3`, `about 250000`, or `more than 10000`. */
export function inWords({ count, exact, more }: Count): string {
  return `${more ? 'more than ' : exact ? '' : 'about '}${count}`;
}

/** How many tasks the planner takes to meet a condition in SQL. */
export async function plannedRows(dataSource: DataSource, condition: string, values?: unknown[]): Promise<number> {
  const [row] = await dataSource.query<[{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }]>(
    `EXPLAIN (FORMAT JSON) SELECT FROM task WHERE ${condition}`,
    values,
  );
  return Math.round(row['QUERY PLAN'][0].Plan['Plan Rows']);
}
