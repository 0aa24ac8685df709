import { Injectable } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { uniqueViolation } from '@app/postgres';
import { DataSource, type EntityManager, In } from 'typeorm';
import { DispatchControl } from '../dispatch/dispatch-control.js';
import { InvalidTask, UniqueKeyTaken } from '../declare/errors.js';
import { payloadJson } from '../declare/json.js';
import { UNCLAIMED } from '../ledger/claims.js';
import { KEY_IS_FREE, withEvent } from '../ledger/ledger.js';
import { QueuePause, TaskRecord } from '../ledger/task-record.entity.js';
import { type CancelResult, explain, idsOf, type TaskFilter } from './operator-texts.js';
import { Overviews } from './overview.js';
import { NAMED_QUEUES } from './counts.js';
import { searchTasks } from './search.js';
import { findPage } from './task-page.js';
import type { DeadGroup, Overview, SearchPage, Series, SeriesRange, TaskPage, TaskSearch, WorkerView } from './views.js';
import { findWorkers } from './workers.js';
import { TaskRegistry } from '../run/registry.js';
import { Waker } from '../distribute/waker.js';

export interface QueueSummary {
  queue: string;
  /** 0: it is none of this app's queues, and its tasks are in the ledger all the same. */
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

/** A task as a list shows it. */
export type ListedTask = Pick<
  TaskRecord,
  'id' | 'type' | 'queue' | 'state' | 'failures' | 'crashes' | 'runAt' | 'createdAt' | 'finishedAt' | 'reason' | 'error'
>;

/** A task with its story, as an operator reads it: without its payload. */
export interface TaskStory extends Omit<TaskRecord, 'payload'> {
  /** Whom or what it concerns: the ids in its payload, by their paths. */
  concerns: Record<string, string>;
  /** What the dispatcher says of it: `waiting`, `active`, `delayed`; absent when it knows none, or does not answer. */
  job?: string;
  /** Why the task is not running now, in a sentence. */
  explanation: string;
}

/** Nothing here has a type or a queue of that name: neither this version's tasks, nor any task in the ledger. */
export class UnknownName extends Error {
  override readonly name = 'UnknownName';
}

/**
 * What became of dead tasks that were to be brought back; those are skipped whose
 * unique key another task has. One that another operator has brought back or
 * deleted meanwhile is neither.
 */
export interface Redriven {
  redriven: number;
  skipped: number;
}

/** How many tasks one statement of a bulk operation touches. */
const CHUNK = 1_000;
/** Before every id. */
const NIL = '00000000-0000-0000-0000-000000000000';

/** What operators do with tasks: read the ledger, bring the dead back, cancel, pause. */
@Injectable()
export class TaskAdmin {
  private readonly queues: readonly string[];
  private readonly overviews: Overviews;

  constructor(
    private readonly dataSource: DataSource,
    private readonly dispatch: DispatchControl,
    private readonly registry: TaskRegistry,
    private readonly waker: Waker,
    options: EngineOptions,
  ) {
    this.queues = options.queueNames;
    this.overviews = new Overviews(dataSource, dispatch, options);
  }

  /**
   * Every queue with what is in it, and what is wrong now. What is dear to count is kept for a while, so that to look
   * again and again costs the database no more than a hundredth of a core; with few tasks that is a second.
   */
  overview(): Promise<Overview> {
    return this.overviews.overview();
  }

  /** What happened over the last hour, a point a minute, or day, a point a quarter of an hour: in all queues, or in one. */
  series(range: SeriesRange, queue?: string): Promise<Series> {
    return this.overviews.chart(range, queue);
  }

  /** The dead by type and error, those first of which most died within the last day; at most 200, of at most 1,000 that are looked at. */
  deadGroups(): Promise<DeadGroup[]> {
    return this.overviews.deadGroups();
  }

  /** Every worker process that is there, the oldest first; at most 500. */
  workers(): Promise<WorkerView[]> {
    return findWorkers(this.dataSource);
  }

  /**
   * A page of the tasks that match, in the order that {@link SearchPage.order} names. It takes a second at the most: what no
   * index knows is looked for task by task, and the page says how far that has come.
   *
   * @param options.after {@link SearchPage.next} of the page before. @param options.limit from 1 to 200; default 50.
   * @throws Refused for a search that cannot be.
   */
  search(search: TaskSearch, options: { after?: string; limit?: number } = {}): Promise<SearchPage> {
    return searchTasks(this.dataSource, search, options);
  }

  /** One task with its whole story, without its payload; undefined when the ledger has none of that id: then it is done, was cancelled, or never was. */
  page(id: string): Promise<TaskPage | undefined> {
    return findPage(this.dataSource, id, (type) => this.registry.find(type) !== undefined);
  }

  /** Types and queues to choose from: those that this app knows, and those of tasks that are to run or are dead; at most 200 each. */
  async names(): Promise<{ types: string[]; queues: string[] }> {
    const [groups, queues] = await Promise.all([
      this.overviews.deadGroups(),
      this.dataSource.query<{ queue: string }[]>(`${NAMED_QUEUES} SELECT queue FROM named ORDER BY queue`, [this.queues]),
    ]);
    const types = new Set([...this.registry.all().map(({ policy }) => policy.type), ...groups.map(({ type }) => type)]);
    return { types: [...types].toSorted().slice(0, 200), queues: queues.map(({ queue }) => queue) };
  }

  async summarize(weights: ReadonlyMap<string, number>): Promise<QueueSummary[]> {
    const rows = await this.dataSource.query<{ queue: string; pending: number; dead: number; latency: number }[]>(
      `SELECT queue, count(*) FILTER (WHERE state = 'pending')::int AS pending, count(*) FILTER (WHERE state = 'dead')::int AS dead,
              COALESCE(EXTRACT(epoch FROM now() - min(run_at) FILTER (WHERE state IN ('pending', 'dispatched') AND run_at <= now())) * 1000, 0)::float8 AS latency
       FROM task GROUP BY queue`,
    );
    const paused = new Set((await this.dataSource.getRepository(QueuePause).find()).map((pause) => pause.queue));
    const counts = await this.dispatch.count();
    const strange = rows.filter(({ queue, pending, dead }) => !this.queues.includes(queue) && pending + dead > 0).map(({ queue }) => queue);
    return [...this.queues, ...strange.toSorted()].map((queue) => {
      const row = rows.find((candidate) => candidate.queue === queue);
      return {
        queue,
        weight: weights.get(queue) ?? 0,
        paused: paused.has(queue),
        pending: row?.pending ?? 0,
        waiting: counts.get(queue)?.waiting ?? 0,
        active: counts.get(queue)?.active ?? 0,
        delayed: counts.get(queue)?.delayed ?? 0,
        dead: row?.dead ?? 0,
        latency: Math.round(row?.latency ?? 0),
      };
    });
  }

  /**
   * The newest tasks that match, without their payloads.
   *
   * @throws UnknownName as do all that take a filter, when it names a type or a queue that does not exist.
   */
  async list(filter: TaskFilter, limit: number): Promise<ListedTask[]> {
    await this.requireKnown(filter);
    const { sql, values } = where(filter);
    return this.dataSource.query(
      `SELECT id, type, queue, state, failures, crashes, run_at AS "runAt", created_at AS "createdAt", finished_at AS "finishedAt", reason, error
       FROM task ${sql} ORDER BY id DESC LIMIT ${Math.max(1, Math.trunc(limit))}`,
      values,
    );
  }

  async count(filter: TaskFilter): Promise<number> {
    await this.requireKnown(filter);
    const { sql, values } = where(filter);
    const [row] = await this.dataSource.query<{ count: number }[]>(`SELECT count(*)::int AS count FROM task ${sql}`, values);
    return row?.count ?? 0;
  }

  /** The whole story of one task; undefined when the ledger has none of that id: then it is done, was cancelled, or never was. */
  async show(id: string): Promise<TaskStory | undefined> {
    const record = await this.dataSource.manager.findOneBy(TaskRecord, { id });
    if (!record) return undefined;
    const { payload, ...task } = record;
    const job = await this.dispatch.stateOf(record).catch(() => 'silent');
    const paused = await this.dataSource.getRepository(QueuePause).existsBy({ queue: task.queue });
    return {
      ...task,
      concerns: idsOf(payload),
      ...(job !== undefined && job !== 'silent' && { job }),
      explanation: explain(task, job, paused),
    };
  }

  /**
   * Brings dead tasks back, with all of their retries: those that match, oldest
   * first. One whose unique key another task has meanwhile stays dead.
   *
   * @param options.rate at most so many a second. @param options.onProgress told how many are done.
   * @returns how many were brought back and skipped, or with `dryRun` would be.
   */
  async redrive(
    filter: Omit<TaskFilter, 'state'>,
    options: { dryRun?: boolean; rate?: number; onProgress?: (done: number) => void } = {},
  ): Promise<Redriven> {
    await this.requireKnown(filter);
    if (options.dryRun) return this.countRedrivable(filter);
    const { sql, values } = where({ ...filter, state: 'dead' });
    const chunk = options.rate === undefined ? CHUNK : Math.max(1, Math.min(CHUNK, Math.ceil(options.rate / 4)));
    const begin = Date.now();
    // As text, which keeps the microseconds; by the clock that the tasks' own times are of.
    const [{ newest }] = await this.dataSource.query<[{ newest: string }]>(`SELECT now()::text AS newest`);
    const total: Redriven = { redriven: 0, skipped: 0 };
    let after = NIL;
    for (;;) {
      const [{ count, keyed, last, queues }] = await this.dataSource.query<
        [{ count: number; keyed: string[]; last: string | null; queues: string[] }]
      >(
        `WITH chosen AS (
           SELECT id, released_key, queue FROM task ${sql} AND finished_at <= $${values.length + 1}::timestamptz AND id > $${values.length + 2}
           ORDER BY id LIMIT ${chunk} FOR UPDATE SKIP LOCKED),
         revived AS (UPDATE task SET ${REVIVE} WHERE id = ANY(ARRAY(SELECT id FROM chosen WHERE released_key IS NULL)))
         SELECT count(*)::int AS count,
                COALESCE(array_agg(id::text ORDER BY id) FILTER (WHERE released_key IS NOT NULL), '{}') AS keyed,
                (array_agg(id ORDER BY id DESC))[1] AS last,
                COALESCE(array_agg(DISTINCT queue) FILTER (WHERE released_key IS NULL), '{}') AS queues
         FROM chosen`,
        [...values, newest, after],
      );
      total.redriven += count - keyed.length;
      for (const queue of queues) this.waker.wake(queue);
      // One by one, because each may find its key taken, also by the one before it.
      for (const id of keyed) {
        const fate = await this.tryToRedrive(id);
        if (fate) total[fate] += 1;
      }
      const done = total.redriven + total.skipped;
      options.onProgress?.(done);
      if (count < chunk) return total;
      after = last!;
      if (options.rate !== undefined) {
        const ahead = (done / options.rate) * 1_000 - (Date.now() - begin);
        if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead));
      }
    }
  }

  /** @returns undefined when it is no longer dead: somebody else has brought it back or deleted it. */
  private async tryToRedrive(id: string): Promise<keyof Redriven | undefined> {
    try {
      await this.redriveOne(id);
      return 'redriven';
    } catch (error) {
      if (error instanceof UniqueKeyTaken) return 'skipped';
      if (error instanceof InvalidTask) return undefined;
      throw error;
    }
  }

  private async countRedrivable(filter: Omit<TaskFilter, 'state'>): Promise<Redriven> {
    const { sql, values } = where({ ...filter, state: 'dead' });
    const [count] = await this.dataSource.query<[Redriven]>(
      `SELECT count(*) FILTER (WHERE NOT taken)::int AS redriven, count(*) FILTER (WHERE taken)::int AS skipped
       FROM (SELECT released_key IS NOT NULL AND (row_number() OVER (PARTITION BY type, released_key ORDER BY id) > 1 OR EXISTS (
               SELECT FROM task AS holder WHERE holder.type = task.type AND holder.unique_key = task.released_key AND ${KEY_IS_FREE} IS NOT TRUE)) AS taken
             FROM task ${sql}) AS dead`,
      values,
    );
    return count;
  }

  /**
   * Brings one dead task back, with another payload if one is given. It takes its
   * unique key back, if it had one until it was done. A dry run does all of it, and
   * takes it back.
   *
   * @throws InvalidTask when the task is not dead, the payload does not fit it, or another task has its unique key.
   */
  async redriveOne(id: string, payload?: unknown, options: { dryRun?: boolean } = {}): Promise<void> {
    for (;;) {
      try {
        return await this.transaction(options, (manager) => this.revive(manager, id, payload));
      } catch (error) {
        // Somebody has taken the key at the same moment: now that can be seen.
        if (uniqueViolation(error) !== 'task_unique') throw error;
      }
    }
  }

  private async revive(manager: EntityManager, id: string, payload: unknown): Promise<void> {
    const task = await manager.findOne(TaskRecord, { where: { id }, lock: { mode: 'pessimistic_write' } });
    if (task?.state !== 'dead') throw new InvalidTask(task ? `the task is ${task.state}, not dead` : 'there is no such task');
    if (task.releasedKey !== null) {
      const key = [task.type, task.releasedKey];
      await manager.query(`UPDATE task SET unique_key = NULL WHERE type = $1 AND unique_key = $2 AND ${KEY_IS_FREE}`, key);
      const [holder] = await manager.query<{ id: string }[]>(`SELECT id FROM task WHERE type = $1 AND unique_key = $2`, key);
      if (holder) throw new UniqueKeyTaken(`the task ${holder.id} has its unique key`);
    }
    if (payload !== undefined) await this.replacePayload(manager, task, payload);
    await manager.query(`UPDATE task SET ${REVIVE} WHERE id = $1`, [id]);
    this.waker.afterCommitOf(manager, task.queue);
  }

  /**
   * Takes a task that is pending, delayed or running out of the world; the signal
   * of a running handler aborts, wherever it runs. A dry run says what would come of it.
   *
   * @throws Error, and nothing is cancelled, when the dispatcher does not answer.
   */
  cancel(id: string, options: { dryRun?: boolean } = {}): Promise<CancelResult> {
    return this.dataSource.transaction(async (manager) => {
      // Locked: it is neither dispatched nor completed meanwhile.
      const task = await manager.findOne(TaskRecord, {
        where: { id, state: In(['pending', 'dispatched']) },
        lock: { mode: 'pessimistic_write' },
      });
      if (!task) return (await manager.existsBy(TaskRecord, { id })) ? 'already finished' : 'unknown';
      const isRunning = options.dryRun ? (await this.dispatch.stateOf(task)) === 'active' : await this.dispatch.remove(task, manager);
      if (!options.dryRun) await manager.query('DELETE FROM task WHERE id = $1', [id]);
      return isRunning ? 'cancelled while running' : 'cancelled';
    });
  }

  /**
   * Deletes tasks that are finished, dead or completed; never one that is still to run.
   *
   * @param options.onProgress told how many are done.
   * @returns how many were deleted, or with `dryRun` would be.
   */
  async delete(filter: TaskFilter, options: { dryRun?: boolean; onProgress?: (done: number) => void } = {}): Promise<number> {
    await this.requireKnown(filter);
    const { sql, values } = where(filter);
    const finished = `FROM task ${sql === '' ? 'WHERE' : `${sql} AND`} state IN ('dead', 'completed')`;
    if (options.dryRun) {
      const [row] = await this.dataSource.query<{ count: number }[]>(`SELECT count(*)::int AS count ${finished}`, values);
      return row?.count ?? 0;
    }
    let done = 0;
    for (;;) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `DELETE FROM task WHERE id = ANY(ARRAY(SELECT id ${finished} LIMIT ${CHUNK} FOR UPDATE SKIP LOCKED))`,
        values,
      );
      done += count;
      options.onProgress?.(done);
      if (count < CHUNK) return done;
    }
  }

  /** A dry run does all of it, and takes it back. @returns whether there was a finished task of that id. */
  deleteOne(id: string, options: { dryRun?: boolean } = {}): Promise<boolean> {
    return this.transaction(options, async (manager) => {
      const [, count] = await manager.query<[unknown, number]>(`DELETE FROM task WHERE id = $1 AND state IN ('dead', 'completed')`, [id]);
      return count > 0;
    });
  }

  /**
   * Puts tasks of one queue that wait for a worker into another one, where they keep
   * their times; never one that a worker or Redis has been given.
   *
   * @returns how many were moved, or with `dryRun` would be.
   * @throws Error when no worker of this app would take them there either.
   */
  async move(from: string, to: string, options: { dryRun?: boolean; onProgress?: (done: number) => void } = {}): Promise<number> {
    this.requireServed(to);
    await this.requireKnown({ queue: from });
    const waiting = `FROM task WHERE state = 'pending' AND queue = $1 AND queue <> $2 AND ${UNCLAIMED}`;
    if (options.dryRun) {
      const [row] = await this.dataSource.query<{ count: number }[]>(`SELECT count(*)::int AS count ${waiting}`, [from, to]);
      return row?.count ?? 0;
    }
    let done = 0;
    for (;;) {
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `UPDATE task SET queue = $2, ${withEvent(`format('moved by an operator from the queue %s', $1::text)`)}
         WHERE id = ANY(ARRAY(SELECT id ${waiting} ORDER BY run_at LIMIT ${CHUNK} FOR UPDATE SKIP LOCKED))`,
        [from, to],
      );
      done += count;
      if (count > 0) this.waker.wake(to);
      options.onProgress?.(done);
      if (count < CHUNK) return done;
    }
  }

  /** No worker takes a task of the queue until it is resumed; running ones finish. @throws Error for an unknown queue. */
  async pause(queue: string): Promise<void> {
    this.requireServed(queue);
    return this.dispatch.pause(queue);
  }

  /** @throws Error for an unknown queue. */
  async resume(queue: string): Promise<void> {
    this.requireServed(queue);
    return this.dispatch.resume(queue);
  }

  /** A transaction, which a dry run rolls back: it meets all that the real one would. */
  private async transaction<T>({ dryRun }: { dryRun?: boolean }, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    try {
      await runner.startTransaction();
      const result = await work(runner.manager);
      if (dryRun) await runner.rollbackTransaction();
      else await runner.commitTransaction();
      return result;
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      throw error;
    } finally {
      await runner.release();
    }
  }

  private requireServed(queue: string): void {
    if (!this.queues.includes(queue)) throw new Error(`the queue "${queue}" is not one of this app's (${this.queues.join(', ')})`);
  }

  private async requireKnown({ type, queue }: TaskFilter): Promise<void> {
    const isInLedger = async (column: 'type' | 'queue', name: string) => {
      const [row] = await this.dataSource.query<{ found: boolean }[]>(`SELECT EXISTS (SELECT FROM task WHERE ${column} = $1) AS found`, [
        name,
      ]);
      return row?.found === true;
    };
    if (type !== undefined && !this.registry.find(type) && !(await isInLedger('type', type))) {
      throw new UnknownName(`there is no task type "${type}": no task here declares it, and the ledger holds none`);
    }
    if (queue !== undefined && !this.queues.includes(queue) && !(await isInLedger('queue', queue))) {
      throw new UnknownName(`there is no queue "${queue}": this app has ${this.queues.join(', ')}, and the ledger holds no task of it`);
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
const REVIVE = `state = 'pending', generation = generation + 1, delivery = 0, failures = 0, crashes = 0, quarantined = false, run_at = now(),
  reason = NULL, error = NULL, error_group = '', finished_at = NULL, unique_key = COALESCE(unique_key, released_key), released_key = NULL,
  ${withEvent("'brought back by an operator'")}`;

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
