import { toString as cronInWords } from 'cronstrue';
import type { Type } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import type { TaskHandler } from '../declare/task.js';
import type { TaskDistributor } from '../distribute/distributor.js';
import { ScheduleRecord, type TickEntry } from '../ledger/task-record.entity.js';
import type { TaskRegistry } from '../run/registry.js';
import type { ActionLog } from './action-log.js';
import { nextTick } from './cron.js';
import { type ActionRecord, type Operator, Refused, type ScheduleView } from './views.js';

/** How often somebody says that a schedule is declared, and when nobody does. Milliseconds. */
export const DECLARED_AGAIN = 30_000;
const UNDECLARED = 4 * DECLARED_AGAIN;

/** A tick that is later than this was missed: no worker was there for it. Milliseconds. */
export const GRACE = 60_000;

const SHOWN_TICKS = 5;
const MOST_TICKS = 10;
/** More schedules than that are not shown. */
const MOST_SCHEDULES = 1_000;

/** SQL that puts a tick before the others. @param tick an expression of JSON. */
export const withTick = (tick: string) =>
  `ticks = jsonb_path_query_array(jsonb_build_array(${tick}::jsonb) || ticks, '$[0 to ${MOST_TICKS - 1}]')`;

/** Whether nobody has run a schedule whose time has passed. */
export function isLate({ nextAt, pausedAt }: ScheduleRecord, now: Date): boolean {
  return pausedAt === null && nextAt.getTime() < now.getTime() - GRACE;
}

/** Periodic tasks, as operators see them, and what they do with them. */
export class Schedules {
  constructor(
    private readonly dataSource: DataSource,
    private readonly registry: TaskRegistry,
    private readonly distributor: TaskDistributor,
    private readonly log: ActionLog,
  ) {}

  async list(): Promise<ScheduleView[]> {
    const [records, now] = await Promise.all([
      this.dataSource.getRepository(ScheduleRecord).find({ order: { type: 'ASC' }, take: MOST_SCHEDULES }),
      this.now(),
    ]);
    return records.map((record) => ({
      type: record.type,
      cron: record.cron,
      timezone: record.timezone,
      words: inWords(record),
      declared: this.isDeclared(record, now),
      pausedAt: record.pausedAt,
      next: record.pausedAt === null ? nextTicks(record) : [],
      ticks: record.ticks.map(({ due, at, what, taskId }) => ({ due: new Date(due), at: new Date(at), what, taskId })),
      late: isLate(record, now),
    }));
  }

  /** Its ticks pass by until it is resumed. */
  pause(type: string, who: Operator): Promise<ActionRecord> {
    return this.record('pause schedule', `Pause the schedule of "${type}"`, type, who, async (record) => {
      if (record.pausedAt !== null) throw new Refused('the schedule is paused already');
      await this.dataSource.query(
        // A worker of the release before knows no pause: for it the next tick is far away.
        `UPDATE task_schedule SET paused_at = now(), next_at = '9999-12-31Z' WHERE type = $1 AND paused_at IS NULL`,
        [type],
      );
    });
  }

  /** It runs again from its next tick on; those that have passed are not made up for. */
  resume(type: string, who: Operator): Promise<ActionRecord> {
    return this.record('resume schedule', `Resume the schedule of "${type}"`, type, who, async (record) => {
      if (record.pausedAt === null) throw new Refused('the schedule is not paused');
      const nextAt = nextTick(record, await this.now(), type);
      await this.dataSource.query(`UPDATE task_schedule SET paused_at = NULL, next_at = $2 WHERE type = $1`, [type, nextAt]);
    });
  }

  /** Distributes its task at once, beside its ticks, which stay as they are. */
  runNow(type: string, who: Operator): Promise<ActionRecord> {
    return this.record('run schedule now', `Run the schedule of "${type}" now`, type, who, () =>
      this.dataSource.transaction(async (manager) => {
        const registered = this.registry.find(type);
        if (!registered) throw new Refused(`nothing here knows the task "${type}"`);
        const handler = registered.handler.constructor as Type<TaskHandler<unknown>>;
        const { id: taskId } = await this.distributor.distribute(handler, {}, { manager });
        await manager.query(
          `UPDATE task_schedule SET ${withTick(`jsonb_build_object('due', now(), 'at', now(), 'what', 'run by an operator', 'taskId', $2::text)`)} WHERE type = $1`,
          [type, taskId],
        );
        return { taskId };
      }),
    );
  }

  /** Forgets one that nobody declares any more. */
  delete(type: string, who: Operator): Promise<ActionRecord> {
    return this.record('delete schedule', `Delete the schedule of "${type}"`, type, who, async (record) => {
      if (this.isDeclared(record, await this.now())) throw new Refused('a worker declares the schedule: it would be there again at once');
      const [, count] = await this.dataSource.query<[unknown, number]>(
        `DELETE FROM task_schedule WHERE type = $1 AND declared_at < now() - ${UNDECLARED} * interval '1 ms'`,
        [type],
      );
      if (count === 0) throw new Refused('a worker has declared the schedule meanwhile');
    });
  }

  private async record(
    kind: Parameters<ActionLog['record']>[0],
    name: string,
    type: string,
    who: Operator,
    work: (record: ScheduleRecord) => Promise<{ taskId: string } | void>,
  ): Promise<ActionRecord> {
    const record = await this.dataSource.getRepository(ScheduleRecord).findOneBy({ type });
    if (!record) throw new Refused(`there is no schedule of "${type}"`);
    return this.log.record(kind, who, name, { type }, () => work(record));
  }

  private isDeclared({ type, declaredAt }: ScheduleRecord, now: Date): boolean {
    return this.registry.find(type)?.policy.schedule !== undefined || declaredAt.getTime() > now.getTime() - UNDECLARED;
  }

  private async now(): Promise<Date> {
    const [{ now }] = await this.dataSource.query<[{ now: Date }]>('SELECT now()');
    return now;
  }
}

/** A tick as it is recorded. */
export function tickOf(due: Date, at: Date, taskId: string | null): TickEntry {
  return { due: due.toISOString(), at: at.toISOString(), what: taskId === null ? 'missed' : 'distributed', taskId };
}

/** The next runs, the first of which is what the row says. */
function nextTicks(record: ScheduleRecord): Date[] {
  const ticks = [record.nextAt];
  try {
    while (ticks.length < SHOWN_TICKS) ticks.push(nextTick(record, ticks.at(-1)!, record.type));
  } catch {
    // An expression, or a time zone, of a release that read others: what the row says is known all the same.
  }
  return ticks;
}

/** `every day at 03:00, Europe/Berlin`. */
function inWords({ cron, timezone }: ScheduleRecord): string {
  try {
    const words = cronInWords(cron, { use24HourTimeFormat: true });
    const isDaily = /^At \d\d:\d\d(:\d\d)?$/.test(words);
    const sentence = `${isDaily ? 'every day ' : ''}${words[0]!.toLowerCase()}${words.slice(1)}`;
    return `${sentence}, ${timezone}`;
  } catch {
    // It knows not all that a schedule may be written with, such as H for an hour that is chosen by the type.
    return `${cron}, ${timezone}`;
  }
}
