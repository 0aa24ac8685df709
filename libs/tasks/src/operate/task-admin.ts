import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DispatchControl } from '../dispatch/dispatch-control.js';
import { TaskDistributor } from '../distribute/distributor.js';
import { Waker } from '../distribute/waker.js';
import { UNCLAIMED } from '../ledger/claims.js';
import { withEvent } from '../ledger/ledger.js';
import { QueuePause, TaskRecord } from '../ledger/task-record.entity.js';
import { EngineOptions } from '../options.js';
import { TaskRegistry } from '../run/registry.js';
import { ActionLog } from './action-log.js';
import { Actions } from './actions.js';
import { Changes } from './changes.js';
import { NAMED_QUEUES } from './counts.js';
import { type CancelResult, explain, idsOf, type TaskFilter } from './operator-texts.js';
import { Overviews } from './overview.js';
import { Schedules } from './schedules.js';
import { searchTasks } from './search.js';
import { findPage } from './task-page.js';
import {
  type ActionRecord,
  type ActionResult,
  type DeadGroup,
  type Operator,
  type Overview,
  type Plan,
  Refused,
  type RevealedPayload,
  type ScheduleView,
  type SearchPage,
  type Seen,
  type Series,
  type SeriesRange,
  type TaskActionKind,
  type TaskConsole,
  type TaskPage,
  type TaskSearch,
  type WorkerView,
} from './views.js';
import { findWorkers } from './workers.js';

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

/** What became of dead tasks that were to be brought back; those are skipped whose unique key another task has, and those that have changed meanwhile. */
export interface Redriven {
  redriven: number;
  skipped: number;
}

/** Who acts; recorded as {@link PROGRAM} where it is not said. */
interface By {
  who?: Operator;
}
const PROGRAM: Operator = 'a program';

/** How many tasks one statement moves. */
const CHUNK = 1_000;

/** What operators ask about tasks, and do with them; what they do is recorded. */
@Injectable()
export class TaskAdmin implements TaskConsole, OnModuleDestroy {
  private readonly queues: readonly string[];
  private readonly overviews: Overviews;
  private readonly log: ActionLog;
  private readonly actions: Actions;
  private readonly schedules: Schedules;

  constructor(
    private readonly dataSource: DataSource,
    private readonly dispatch: DispatchControl,
    private readonly registry: TaskRegistry,
    private readonly waker: Waker,
    distributor: TaskDistributor,
    options: EngineOptions,
  ) {
    this.queues = options.queueNames;
    this.overviews = new Overviews(dataSource, dispatch, options);
    this.log = new ActionLog(dataSource);
    const changes = new Changes(dataSource, dispatch, registry, waker);
    this.actions = new Actions(dataSource, changes, this.log, registry, () => this.overviews.forget());
    this.schedules = new Schedules(dataSource, registry, distributor, this.log);
  }

  /** What this process carries out ends after its step, before anything else of it does. */
  onModuleDestroy(): Promise<void> {
    return this.actions.stop();
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
    return findPage(
      this.dataSource,
      id,
      (type) => this.registry.find(type) !== undefined,
      () => this.overviews.trouble(),
    );
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
   * Brings dead tasks back, with all of their retries: those that match, the oldest
   * first. One whose unique key another task has meanwhile stays dead.
   *
   * @param options.rate at most so many a second. @param options.onProgress told how many have had their turn.
   * @returns how many were brought back and skipped, or with `dryRun` would be.
   */
  async redrive(
    filter: Omit<TaskFilter, 'state'>,
    options: By & { dryRun?: boolean; rate?: number; onProgress?: (done: number) => void } = {},
  ): Promise<Redriven> {
    const { done, refused } = await this.all('redrive', filter, options);
    return { redriven: done, skipped: refused };
  }

  /**
   * Brings one dead task back, with another payload if one is given. It takes its
   * unique key back, if it had one until it was done. A dry run does all of it, and
   * takes it back.
   *
   * @throws Refused when the task is not dead; InvalidTask when the payload does not fit it, or another task has its unique key.
   */
  async redriveOne(id: string, payload?: unknown, { who = PROGRAM, dryRun }: By & { dryRun?: boolean } = {}): Promise<void> {
    await this.actions.one('redrive', id, who, { payload, dryRun });
  }

  /**
   * Takes a task that is pending, delayed or running out of the world; the signal
   * of a running handler aborts, wherever it runs. A dry run says what would come of it.
   *
   * @throws DispatcherUnavailable, and nothing is cancelled, when the dispatcher does not answer.
   */
  async cancel(id: string, { who = PROGRAM, dryRun }: By & { dryRun?: boolean } = {}): Promise<CancelResult> {
    try {
      return (await this.actions.one('cancel', id, who, { dryRun })) ? 'cancelled while running' : 'cancelled';
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return (await this.dataSource.manager.existsBy(TaskRecord, { id })) ? 'already finished' : 'unknown';
    }
  }

  /**
   * Deletes tasks that are finished, dead or completed; never one that is still to run.
   *
   * @param options.onProgress told how many have had their turn.
   * @returns how many were deleted, or with `dryRun` would be.
   */
  async delete(
    filter: Omit<TaskFilter, 'state'> & { state?: 'dead' | 'completed' },
    options: By & { dryRun?: boolean; onProgress?: (done: number) => void } = {},
  ): Promise<number> {
    return (await this.all('delete', filter, options)).done;
  }

  /**
   * Acts on all that match, the oldest first, and waits for the end of it.
   *
   * @param options.rate at most so many a second. @param options.onProgress told how many have had their turn.
   * @returns on how many something was done, and on how many not; with `dryRun`, would be.
   */
  async all(
    kind: TaskActionKind,
    search: TaskSearch,
    {
      who = PROGRAM,
      dryRun,
      ...options
    }: By & { dryRun?: boolean | undefined; rate?: number | undefined; onProgress?: (done: number) => void } = {},
  ): Promise<{ done: number; refused: number }> {
    await this.requireKnown(search);
    const { token, count, skipped } = await this.actions.plan(kind, search, { whole: dryRun === true });
    return dryRun ? { done: count.count - skipped, refused: skipped } : this.actions.finish(token, who, options);
  }

  /** Has a delayed task run as soon as a slot is free. @throws Refused when it is not delayed. */
  async runNow(id: string, { who = PROGRAM, dryRun }: By & { dryRun?: boolean } = {}): Promise<void> {
    await this.actions.one('run now', id, who, { dryRun });
  }

  /** A dry run does all of it, and takes it back. @returns whether there was a finished task of that id. */
  async deleteOne(id: string, { who = PROGRAM, dryRun }: By & { dryRun?: boolean } = {}): Promise<boolean> {
    try {
      await this.actions.one('delete', id, who, { dryRun });
      return true;
    } catch (error) {
      if (error instanceof Refused) return false;
      throw error;
    }
  }

  act(kind: TaskActionKind, tasks: readonly Seen[], who: Operator, options?: { payload?: unknown }): Promise<ActionResult> {
    return this.actions.act(kind, tasks, who, options);
  }

  plan(kind: TaskActionKind, search: TaskSearch): Promise<Plan> {
    return this.actions.plan(kind, search);
  }

  carryOut(token: string, who: Operator, options?: { rate?: number | undefined }): Promise<ActionRecord> {
    return this.actions.carryOut(token, who, options);
  }

  async stopAction(id: number, who: Operator): Promise<void> {
    if (!(await this.log.stop(id, who))) throw new Refused(`there is no action ${id} that could be stopped`);
  }

  action(id: number): Promise<ActionRecord | undefined> {
    return this.log.find(id);
  }

  listActions(options?: { before?: number | undefined; limit?: number | undefined }): Promise<ActionRecord[]> {
    return this.log.list(options);
  }

  reveal(id: string, who: Operator): Promise<RevealedPayload> {
    return this.actions.reveal(id, who);
  }

  checkPayload(id: string, payload: unknown): Promise<string | undefined> {
    return this.actions.checkPayload(id, payload);
  }

  /**
   * Puts tasks of one queue that wait for a worker into another one, where they keep
   * their times; never one that a worker or Redis has been given.
   *
   * @returns how many were moved, or with `dryRun` would be.
   * @throws Error when no worker of this app would take them there either.
   */
  async move(
    from: string,
    to: string,
    { who = PROGRAM, ...options }: By & { dryRun?: boolean; onProgress?: (done: number) => void } = {},
  ): Promise<number> {
    this.requireServed(to);
    await this.requireKnown({ queue: from });
    const waiting = `FROM task WHERE state = 'pending' AND queue = $1 AND queue <> $2 AND ${UNCLAIMED}`;
    if (options.dryRun) {
      const [row] = await this.dataSource.query<{ count: number }[]>(`SELECT count(*)::int AS count ${waiting}`, [from, to]);
      return row?.count ?? 0;
    }
    const name = `Move the tasks that wait in the queue "${from}" to "${to}"`;
    const { id } = await this.log.begin('move', who, name, { queue: from, total: 0 });
    let done = 0;
    try {
      for (;;) {
        const [, count] = await this.dataSource.query<[unknown, number]>(
          `UPDATE task SET queue = $2, ${withEvent(`format('moved by an operator from the queue %s', $1::text)`)}
           WHERE id = ANY(ARRAY(SELECT id ${waiting} ORDER BY run_at LIMIT ${CHUNK} FOR UPDATE SKIP LOCKED))`,
          [from, to],
        );
        done += count;
        if (count > 0) this.waker.wake(to);
        options.onProgress?.(done);
        if (count < CHUNK) break;
        await this.log.advance(id, done, 0);
      }
    } catch (error) {
      // What was moved is moved.
      await this.log.end(id, { state: 'failed', done, error }).catch(() => undefined);
      throw error;
    }
    this.overviews.forget();
    await this.log.end(id, { done });
    return done;
  }

  /** No worker takes a task of the queue until it is resumed; running ones finish. @throws Refused for an unknown queue. */
  async pause(queue: string, who: Operator = PROGRAM): Promise<ActionRecord> {
    this.requireServed(queue);
    return this.log.record('pause', who, `Pause the queue "${queue}"`, { queue }, () => this.dispatch.pause(queue));
  }

  /** @throws Refused for an unknown queue. */
  async resume(queue: string, who: Operator = PROGRAM): Promise<ActionRecord> {
    this.requireServed(queue);
    return this.log.record('resume', who, `Resume the queue "${queue}"`, { queue }, () => this.dispatch.resume(queue));
  }

  listSchedules(): Promise<ScheduleView[]> {
    return this.schedules.list();
  }

  pauseSchedule(type: string, who: Operator): Promise<ActionRecord> {
    return this.schedules.pause(type, who);
  }

  resumeSchedule(type: string, who: Operator): Promise<ActionRecord> {
    return this.schedules.resume(type, who);
  }

  runScheduleNow(type: string, who: Operator): Promise<ActionRecord> {
    return this.schedules.runNow(type, who);
  }

  deleteSchedule(type: string, who: Operator): Promise<ActionRecord> {
    return this.schedules.delete(type, who);
  }

  private requireServed(queue: string): void {
    if (!this.queues.includes(queue)) throw new Refused(`the queue "${queue}" is not one of this app's (${this.queues.join(', ')})`);
  }

  /** @throws UnknownName for a type, or a queue, that nothing here declares and no task has. */
  async requireKnown({ type, queue }: Pick<TaskFilter, 'type' | 'queue'>): Promise<void> {
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
}

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
