import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { jobId } from './dispatcher.js';
import { answered } from './deadline.js';
import { payloadJson } from './json.js';
import { CANCEL_CHANNEL, type DispatchedTask, withEvent } from './ledger.js';
import { QueuePauses } from './queue-pauses.js';
import { TaskQueues } from './queues.js';
import { TaskRegistry } from './registry.js';
import { QueuePause, TaskRecord, type TaskState } from './task-record.entity.js';
import { InvalidTask } from './errors.js';
import { TASK_CHANNEL } from './waker.js';

/** Which tasks an operator means. Every condition given must hold. */
export interface TaskFilter {
  state?: TaskState;
  type?: string;
  queue?: string;
  /** A part of the last error's text, compared without regard to case. */
  error?: string;
  /** Finished, or else committed, at least so many milliseconds ago. */
  olderThan?: number;
}

export interface QueueSummary {
  queue: string;
  weight: number;
  paused: boolean;
  pending: number;
  waiting: number;
  active: number;
  delayed: number;
  dead: number;
  /** Milliseconds that the oldest task that is due has waited; 0 when there is none. */
  latency: number;
}

/** A task with its story, as an operator reads it. */
export interface TaskStory extends TaskRecord {
  /** What BullMQ says of its job; absent when it knows none. */
  job?: { state: string; attemptsStarted: number; stalledCounter: number };
  /** Why the task is not running now, in a sentence. */
  explanation: string;
}

export type CancelResult = 'cancelled' | 'cancelled while running' | 'already finished' | 'unknown';

/** How many tasks one statement of a bulk operation touches. */
const CHUNK = 1_000;

/** What operators do with tasks: read the ledger, bring the dead back, cancel, pause. */
@Injectable()
export class TaskAdmin {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queues: TaskQueues,
    private readonly pauses: QueuePauses,
    private readonly registry: TaskRegistry,
  ) {}

  async summarize(weights: ReadonlyMap<string, number>): Promise<QueueSummary[]> {
    const rows = await this.dataSource.query<{ queue: string; pending: number; dead: number; latency: number }[]>(
      `SELECT queue, count(*) FILTER (WHERE state = 'pending')::int AS pending, count(*) FILTER (WHERE state = 'dead')::int AS dead,
              COALESCE(EXTRACT(epoch FROM now() - min(run_at) FILTER (WHERE state IN ('pending', 'dispatched') AND run_at <= now())) * 1000, 0)::float8 AS latency
       FROM task GROUP BY queue`,
    );
    const paused = new Set((await this.dataSource.getRepository(QueuePause).find()).map((pause) => pause.queue));
    return Promise.all(
      this.queues.all().map(async (queue) => {
        const counts = await answered(queue.getJobCounts('waiting', 'active', 'delayed'));
        const row = rows.find((candidate) => candidate.queue === queue.name);
        return {
          queue: queue.name,
          weight: weights.get(queue.name) ?? 0,
          paused: paused.has(queue.name),
          pending: row?.pending ?? 0,
          waiting: counts['waiting'] ?? 0,
          active: counts['active'] ?? 0,
          delayed: counts['delayed'] ?? 0,
          dead: row?.dead ?? 0,
          latency: Math.round(row?.latency ?? 0),
        };
      }),
    );
  }

  /** The newest tasks that match, without their payloads. */
  async list(filter: TaskFilter, limit: number): Promise<Omit<TaskRecord, 'payload'>[]> {
    const { sql, values } = where(filter);
    return this.dataSource.query(
      `SELECT id, type, queue, state, failures, crashes, run_at AS "runAt", created_at AS "createdAt", finished_at AS "finishedAt", reason, error
       FROM task ${sql} ORDER BY id DESC LIMIT ${Math.max(1, Math.trunc(limit))}`,
      values,
    );
  }

  async count(filter: TaskFilter): Promise<number> {
    const { sql, values } = where(filter);
    const [row] = await this.dataSource.query<{ count: number }[]>(`SELECT count(*)::int AS count FROM task ${sql}`, values);
    return row?.count ?? 0;
  }

  /** The whole story of one task; undefined when the ledger has none of that id: then it is done, was cancelled, or never was. */
  async show(id: string): Promise<TaskStory | undefined> {
    const task = await this.dataSource.manager.findOneBy(TaskRecord, { id });
    if (!task) return undefined;
    const job = await this.findJob(task).catch(() => 'silent' as const);
    const paused = await this.dataSource.getRepository(QueuePause).existsBy({ queue: task.queue });
    return {
      ...task,
      ...(typeof job === 'object' && { job }),
      explanation: explain(task, typeof job === 'object' ? job.state : job, paused),
    };
  }

  /**
   * Brings dead tasks back, with all of their retries: those that match, oldest first.
   *
   * @param options.rate at most so many a second. @param options.onProgress told how many are done.
   * @returns how many were brought back, or with `dryRun` would be.
   */
  async redrive(
    filter: Omit<TaskFilter, 'state'>,
    options: { dryRun?: boolean; rate?: number; onProgress?: (done: number) => void } = {},
  ): Promise<number> {
    if (options.dryRun) return this.count({ ...filter, state: 'dead' });
    const { sql, values } = where({ ...filter, state: 'dead' });
    const chunk = options.rate === undefined ? CHUNK : Math.max(1, Math.min(CHUNK, Math.ceil(options.rate / 4)));
    const begin = Date.now();
    const newest = new Date(begin);
    let done = 0;
    for (;;) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `WITH chosen AS (SELECT id FROM task ${sql} AND finished_at <= $${values.length + 1} ORDER BY id LIMIT ${chunk} FOR UPDATE SKIP LOCKED)
         UPDATE task SET ${REVIVE} FROM chosen WHERE task.id = chosen.id`,
        [...values, newest],
      );
      done += count;
      if (count > 0) await this.dataSource.query(`SELECT pg_notify('${TASK_CHANNEL}', '')`);
      options.onProgress?.(done);
      if (count < chunk) return done;
      if (options.rate !== undefined) {
        const ahead = (done / options.rate) * 1_000 - (Date.now() - begin);
        if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead));
      }
    }
  }

  /**
   * Brings one dead task back, with another payload if one is given.
   *
   * @throws InvalidTask when the task is not dead, or the payload does not fit it.
   */
  async redriveOne(id: string, payload?: unknown): Promise<void> {
    await this.dataSource.transaction(async (manager) => {
      const task = await manager.findOne(TaskRecord, { where: { id }, lock: { mode: 'pessimistic_write' } });
      if (task?.state !== 'dead') throw new InvalidTask(task ? `the task is ${task.state}, not dead` : 'there is no such task');
      if (payload !== undefined) await this.replacePayload(manager, task, payload);
      await manager.query(`UPDATE task SET ${REVIVE} WHERE id = $1`, [id]);
      await manager.query(`SELECT pg_notify('${TASK_CHANNEL}', '')`);
    });
  }

  /**
   * Takes a task that is pending, delayed or running out of the world; the signal
   * of a running handler aborts, wherever it runs.
   *
   * @throws Error, and nothing is cancelled, when the dispatcher does not answer.
   */
  cancel(id: string): Promise<CancelResult> {
    return this.dataSource.transaction(async (manager) => {
      // Locked: it is neither dispatched nor completed meanwhile.
      const [task] = await manager.query<DispatchedTask[]>(
        `SELECT id, queue, generation FROM task WHERE id = $1 AND state IN ('pending', 'dispatched') FOR UPDATE`,
        [id],
      );
      if (!task) return (await manager.existsBy(TaskRecord, { id })) ? 'already finished' : 'unknown';
      // First, because a job whose task is gone would still make its first attempt.
      const isRunning = await answered(this.removeJob(task));
      await manager.query('DELETE FROM task WHERE id = $1', [id]);
      if (isRunning) await manager.query(`SELECT pg_notify('${CANCEL_CHANNEL}', $1)`, [id]);
      return isRunning ? 'cancelled while running' : 'cancelled';
    });
  }

  /** Deletes tasks that are finished, dead or completed; never one that is still to run. @returns how many. */
  async delete(filter: TaskFilter, onProgress?: (done: number) => void): Promise<number> {
    const { sql, values } = where(filter);
    let done = 0;
    for (;;) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `DELETE FROM task WHERE id IN (SELECT id FROM task ${sql === '' ? 'WHERE' : `${sql} AND`} state IN ('dead', 'completed') LIMIT ${CHUNK})`,
        values,
      );
      done += count;
      onProgress?.(done);
      if (count < CHUNK) return done;
    }
  }

  /** @returns whether there was a finished task of that id. */
  async deleteOne(id: string): Promise<boolean> {
    const [, count] = await this.dataSource.query<[unknown, number]>(`DELETE FROM task WHERE id = $1 AND state IN ('dead', 'completed')`, [
      id,
    ]);
    return count > 0;
  }

  /** @throws Error for an unknown queue. */
  pause(queue: string): Promise<void> {
    return this.pauses.pause(queue);
  }

  /** @throws Error for an unknown queue. */
  resume(queue: string): Promise<void> {
    return this.pauses.resume(queue);
  }

  private findJob(task: TaskRecord): Promise<TaskStory['job']> {
    const find = async () => {
      const job = this.queues.names.includes(task.queue) ? await this.queues.of(task.queue).getJob(jobId(task)) : undefined;
      return job && { state: await job.getState(), attemptsStarted: job.attemptsStarted, stalledCounter: job.stalledCounter };
    };
    return answered(find());
  }

  /** @returns whether a worker runs the job, which then cannot be removed. */
  private async removeJob(task: DispatchedTask): Promise<boolean> {
    const job = await this.queues.of(task.queue).getJob(jobId(task));
    try {
      await job?.remove();
      return false;
    } catch (error) {
      if (/locked/.test((error as Error).message)) return true;
      throw error;
    }
  }

  private async replacePayload(manager: EntityManager, task: TaskRecord, payload: unknown): Promise<void> {
    const registered = this.registry.find(task.type);
    if (!registered) throw new InvalidTask(`nothing here knows the payload of "${task.type}"`);
    const json = await payloadJson(registered.policy, payload);
    await manager.query('UPDATE task SET payload = $2, version = $3 WHERE id = $1', [task.id, json, registered.policy.version]);
  }
}

/** A dead task begins again, as a new job. */
const REVIVE = `state = 'pending', generation = generation + 1, delivery = 0, failures = 0, crashes = 0, run_at = now(),
  reason = NULL, error = NULL, finished_at = NULL, ${withEvent("'brought back by an operator'")}`;

function where(filter: TaskFilter): { sql: string; values: unknown[] } {
  const values: unknown[] = [];
  const conditions: string[] = [];
  const add = (condition: (parameter: string) => string, value: unknown) => {
    values.push(value);
    conditions.push(condition(`$${values.length}`));
  };
  if (filter.state !== undefined) add((p) => `state = ${p}`, filter.state);
  if (filter.type !== undefined) add((p) => `type = ${p}`, filter.type);
  if (filter.queue !== undefined) add((p) => `queue = ${p}`, filter.queue);
  if (filter.error !== undefined) add((p) => `position(lower(${p}) IN lower(error)) > 0`, filter.error);
  if (filter.olderThan !== undefined) {
    add((p) => `COALESCE(finished_at, created_at) <= now() - ${p}::float8 * interval '1 ms'`, filter.olderThan);
  }
  return { sql: conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`, values };
}

/** @param job the state of its job; `silent` when the dispatcher does not answer. */
function explain(task: TaskRecord, job: string | undefined, paused: boolean): string {
  switch (task.state) {
    case 'dead':
      return `buried: ${task.reason ?? 'unknown'}; it runs again only when it is redriven`;
    case 'completed':
      return `completed; kept until ${task.keepUntil?.toISOString() ?? 'it is deleted'}`;
    case 'pending':
      return 'committed; the relay has not dispatched it yet';
    case 'dispatched':
      if (paused) return 'its queue is paused';
      if (job === 'active') return 'a worker runs it now';
      if (job === 'delayed')
        return `${task.failures > 0 ? 'its last attempt failed; the next' : 'its first attempt'} is at ${task.runAt.toISOString()}`;
      if (job === 'silent') return 'the dispatcher does not answer';
      if (job === undefined || job === 'unknown')
        return 'the dispatcher does not know it; the reconciler dispatches it anew within half a minute';
      return 'it waits for a free slot';
  }
}
