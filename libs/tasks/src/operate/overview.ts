import type { DataSource } from 'typeorm';
import type { DispatchControl } from '../dispatch/dispatch-control.js';
import { QueuePause, ScheduleRecord, type StatisticRecord } from '../ledger/task-record.entity.js';
import type { EngineOptions } from '../options.js';
import { COUNTED, countQueues, estimated, inWords, sumOf } from './counts.js';
import { Kept } from './kept.js';
import { isLate } from './schedules.js';
import type { Count, DeadGroup, Overview, Problem, QueueView, Series, SeriesRange, WorkerView } from './views.js';
import { findWorkers } from './workers.js';
import { escapeLiteral } from 'pg';

/** How long the counts of the queues are kept at most: they read a bounded number of entries, and a busy database makes that long, not dear. Milliseconds. */
const COUNTS_KEPT = 10_000;

/** How long it is believed that Redis is away, or there. Milliseconds. */
const TROUBLE_KEPT = 1_000;

/** How many groups of the dead are found, and how many of them are shown. */
const MOST_GROUPS = 1_000;
const SHOWN_GROUPS = 200;

/** Seconds of a span, and how many there are. */
const SPANS: Record<SeriesRange, readonly [span: number, count: number]> = { hour: [60, 60], day: [900, 96] };

/** What is in the ledger as a whole. What is dear to find is kept for a while ({@link Kept}). */
export class Overviews {
  private readonly counts = new Kept(() => countQueues(this.dataSource, this.options.queueNames), COUNTS_KEPT);
  private readonly groups = new Kept(() => this.findGroups());
  private readonly troubles = new Kept(() => this.dispatch.trouble(), TROUBLE_KEPT);
  private readonly series = new Map<string, Kept<Series>>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly dispatch: DispatchControl,
    private readonly options: EngineOptions,
  ) {}

  /** What was counted is past: somebody has acted on it. */
  forget(): void {
    this.counts.forget();
    this.groups.forget();
  }

  async overview(): Promise<Overview> {
    const [counts, trouble, workers, pauses, schedules, rates, [{ at }]] = await Promise.all([
      this.counts.get(),
      this.troubles.get(),
      findWorkers(this.dataSource),
      this.dataSource.getRepository(QueuePause).find(),
      this.dataSource.getRepository(ScheduleRecord).find({ order: { type: 'ASC' }, take: MOST_GROUPS }),
      this.dataSource.query<Pick<StatisticRecord, 'queue' | 'started' | 'failed'>[]>(
        `SELECT queue, started, failed FROM task_statistic WHERE minute = date_trunc('minute', now()) - interval '1 minute'`,
      ),
      this.dataSource.query<[{ at: Date }]>('SELECT now() AS at'),
    ]);
    const living = workers.filter(({ alive }) => alive);
    const pausedAt = new Map(pauses.map((pause) => [pause.queue, pause.pausedAt]));
    const queues = counts
      .map((count): QueueView => {
        const { queue } = count;
        const rate = rates.find((candidate) => candidate.queue === queue);
        return {
          ...count,
          weight: this.options.weights.queues.find(({ name }) => name === queue)?.weight ?? 0,
          paused: pausedAt.has(queue),
          pausedAt: pausedAt.get(queue) ?? null,
          startsPerSecond: (rate?.started ?? 0) / 60,
          failuresPerSecond: (rate?.failed ?? 0) / 60,
          workers: living.filter((worker) => serves(worker, queue)).length,
        };
      })
      .toSorted((a, b) => b.weight - a.weight || (a.queue < b.queue ? -1 : 1));
    const late = schedules.filter((schedule) => isLate(schedule, at));
    return { at, dispatcher: this.dispatch.name, queues, problems: problemsOf(living, queues, late, trouble) };
  }

  /** Why the dispatcher takes no tasks now; undefined when it does. */
  trouble(): Promise<string | undefined> {
    return this.troubles.get();
  }

  chart(range: SeriesRange, queue?: string): Promise<Series> {
    const key = JSON.stringify([range, queue]);
    // One of all queues, and one a queue, of which there are few; whoever asks for others' names is not remembered.
    if (!this.series.has(key) && this.series.size > 2 * SHOWN_GROUPS) this.series.clear();
    const kept = this.series.get(key) ?? new Kept(() => this.findSeries(range, queue));
    this.series.set(key, kept);
    return kept.get();
  }

  deadGroups(): Promise<DeadGroup[]> {
    return this.groups.get();
  }

  private async findSeries(range: SeriesRange, queue: string | undefined): Promise<Series> {
    const [span, count] = SPANS[range];
    const rows = await this.dataSource.query<Record<Exclude<keyof Series, 'span'>, unknown>[]>(
      `WITH spans AS (
         SELECT at, at + $1::int * interval '1 second' AS until
         FROM date_trunc('minute', now()) AS present, generate_series(
           present - $1::int * $2::int * interval '1 second', present - $1::int * interval '1 second', $1::int * interval '1 second') AS at),
       minutes AS (
         SELECT minute, sum(started) AS started, sum(completed) AS completed, sum(failed) AS failed, sum(died) AS died,
                sum(waits) AS waits, sum(waited) AS waited, sum(ran) AS ran,
                sum(ready) AS ready, sum(running) AS running, sum(delayed) AS delayed, sum(dead) AS dead, max(latency) AS latency
         FROM task_statistic
         WHERE minute >= (SELECT min(at) FROM spans) AND ($3::text IS NULL OR queue = $3)
         GROUP BY minute)
       SELECT at, sum(started)::float8 AS started, sum(completed)::float8 AS completed, sum(failed)::float8 AS failed, sum(died)::float8 AS died,
              sum(waited) / nullif(sum(waits), 0)::float8 AS waited, sum(ran) / nullif(sum(completed) + sum(failed), 0)::float8 AS ran,
              max(ready)::float8 AS ready, max(running)::float8 AS running, max(delayed)::float8 AS delayed, max(dead)::float8 AS dead, max(latency) AS latency
       FROM spans LEFT JOIN minutes ON minute >= at AND minute < until
       GROUP BY at ORDER BY at`,
      [span, count, queue ?? null],
    );
    const column = <T>(name: Exclude<keyof Series, 'span'>) => rows.map((row) => row[name] as T);
    return {
      at: column<Date>('at'),
      span,
      started: column('started'),
      completed: column('completed'),
      failed: column('failed'),
      died: column('died'),
      waited: column('waited'),
      ran: column('ran'),
      ready: column('ready'),
      running: column('running'),
      delayed: column('delayed'),
      dead: column('dead'),
      latency: column('latency'),
    };
  }

  /** Steps along the index from one group to the next, and counts each to its bound. */
  private async findGroups(): Promise<DeadGroup[]> {
    const next = (after: string) => `
      (SELECT queue, type, error_group FROM task WHERE state = 'dead' ${after} ORDER BY queue, type, error_group LIMIT 1)`;
    const counted = (more: string) =>
      `(SELECT count(*) FROM (SELECT FROM task WHERE state = 'dead' AND task.queue = found.queue AND task.type = found.type
          AND task.error_group = found.error_group ${more} LIMIT ${COUNTED + 1}) AS met)::int`;
    const edge = (order: string) =>
      `(SELECT finished_at FROM task WHERE state = 'dead' AND task.queue = found.queue AND task.type = found.type
          AND task.error_group = found.error_group ORDER BY finished_at ${order} LIMIT 1)`;
    const rows = await this.dataSource.query<
      { queue: string; type: string; group: string; count: number; lastDay: number; firstAt: Date; lastAt: Date }[]
    >(
      `WITH RECURSIVE found AS (
         ${next('')}
         UNION ALL
         SELECT following.* FROM found CROSS JOIN LATERAL ${next('AND (queue, type, error_group) > (found.queue, found.type, found.error_group)')} AS following)
       SELECT queue, type, error_group AS "group", ${counted('')} AS count, ${counted(`AND finished_at > now() - interval '1 day'`)} AS "lastDay",
              ${edge('')} AS "firstAt", ${edge('DESC')} AS "lastAt"
       FROM (SELECT * FROM found LIMIT ${MOST_GROUPS}) AS found`,
    );
    const groups = await Promise.all(
      rows.map(async ({ queue, count, lastDay, ...group }) => {
        const condition = `state = 'dead' AND queue = ${escapeLiteral(queue)} AND type = ${escapeLiteral(group.type)} AND error_group = ${escapeLiteral(group.group)}`;
        return {
          ...group,
          count: await estimated(this.dataSource, count, condition),
          lastDay: await estimated(this.dataSource, lastDay, `${condition} AND finished_at > now() - interval '1 day'`),
        };
      }),
    );
    // The same error in two queues is one group.
    return [...Map.groupBy(groups, ({ type, group }) => JSON.stringify([type, group])).values()]
      .map((same) => same.reduce(together))
      .toSorted((a, b) => b.lastDay.count - a.lastDay.count || b.count.count - a.count.count || b.lastAt.getTime() - a.lastAt.getTime())
      .slice(0, SHOWN_GROUPS);
  }
}

function together(a: DeadGroup, b: DeadGroup): DeadGroup {
  return {
    type: a.type,
    group: a.group,
    count: sumOf(a.count, b.count),
    lastDay: sumOf(a.lastDay, b.lastDay),
    firstAt: a.firstAt < b.firstAt ? a.firstAt : b.firstAt,
    lastAt: a.lastAt > b.lastAt ? a.lastAt : b.lastAt,
  };
}

/** A worker of the release before does not say what it serves: it is taken to serve everything, or a deploy that rolls would raise alarms. */
function serves({ queues }: WorkerView, queue: string): boolean {
  return queues === null || queue in queues;
}

/** What is wrong now, the worst first. */
function problemsOf(
  living: readonly WorkerView[],
  queues: readonly QueueView[],
  late: readonly ScheduleRecord[],
  trouble: string | undefined,
): Problem[] {
  const problems: Problem[] = [];
  if (trouble !== undefined) problems.push({ kind: 'dispatcher away', text: trouble });
  if (living.length === 0) problems.push({ kind: 'no worker', text: 'No worker is alive: no task runs until one is started.' });
  for (const { queue, paused, ready, delayed, workers } of queues) {
    const waiting = sumOf(ready, delayed);
    if (living.length > 0 && workers === 0 && waiting.count > 0) {
      problems.push({ kind: 'unserved queue', queue, text: `The queue "${queue}" has ${tasks(waiting)}, and no worker serves it.` });
    }
    if (paused && ready.count > 0) {
      problems.push({
        kind: 'paused queue with a backlog',
        queue,
        text: `The queue "${queue}" is paused, and ${tasks(ready)} ${ready.count === 1 ? 'is' : 'are'} due in it.`,
      });
    }
  }
  for (const { type, nextAt } of late) {
    problems.push({
      kind: 'schedule missed',
      schedule: type,
      text: `The schedule of "${type}" was due at ${nextAt.toISOString().slice(0, 19).replace('T', ' ')}Z, and nobody has run it.`,
    });
  }
  return problems;
}

/** `3 tasks`, or `about 250000 tasks`. */
export function tasks(count: Count): string {
  return `${inWords(count)} ${count.count === 1 ? 'task' : 'tasks'}`;
}
