import { Injectable, type Type } from '@nestjs/common';
import { isDatabaseUnavailable } from '@app/postgres';
import { DataSource } from 'typeorm';
import { nextTick } from './cron.js';
import { DECLARED_AGAIN, GRACE, tickOf, withTick } from './schedules.js';
import { TaskDistributor } from '../distribute/distributor.js';
import { payloadJson } from '../declare/json.js';
import { Loop } from '../loop.js';
import { type RegisteredTask, TaskRegistry } from '../run/registry.js';
import type { Schedule, TaskHandler } from '../declare/task.js';
import { TaskLogger } from '../task-logger.js';

/** Milliseconds. */
const INTERVAL = 1_000;

/** A periodic task that is declared here. */
interface Periodic {
  type: string;
  schedule: Schedule;
  handler: Type<TaskHandler<unknown>>;
}

/**
 * Distributes periodic tasks. The schedule is a row that one worker locks, and
 * the tick and its task are one transaction: once a tick, however many workers,
 * by the clock of the database.
 *
 * Every worker looks once a second which of its schedules are due, in one
 * statement that locks nothing. Each schedule is run by itself: one that cannot
 * be is reported and tried again, and holds up no other.
 *
 * While a deploy rolls, releases may declare a schedule differently. The row has
 * the expression that was announced last, and only workers that declare this one
 * run it. When none of them is left, the tick is missed, and another worker
 * announces its own.
 */
@Injectable()
export class Scheduler {
  readonly loop = new Loop(
    () => this.tick(),
    INTERVAL,
    (error) => this.logger.trouble('scheduler', error),
  );
  private periodic: ReadonlyMap<string, Periodic> = new Map();
  private readonly unannounced = new Set<Periodic>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly registry: TaskRegistry,
    private readonly distributor: TaskDistributor,
    private readonly logger: TaskLogger,
  ) {}

  /** Reads the schedules. @throws Error for an expression or a time zone that cannot be read, and for a payload that does not take `{}`. */
  async load(): Promise<void> {
    const periodic = (await Promise.all(this.registry.all().map(periodicOf))).flat();
    this.periodic = new Map(periodic.map((one) => [one.type, one]));
    for (const periodic of this.periodic.values()) this.unannounced.add(periodic);
  }

  start(): void {
    if (this.periodic.size > 0) this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async tick(): Promise<void> {
    for (const periodic of this.unannounced) {
      await this.separately(periodic, () => this.announce(periodic));
    }
    const all = [...this.periodic.values()];
    const found = await this.dataSource.query<{ type: string; isOurs: boolean; isDue: boolean; isUntold: boolean }[]>(
      `SELECT type, is_ours AS "isOurs", is_due AS "isDue", is_untold AS "isUntold"
       FROM (SELECT type, is_ours, declared_at < now() - ${DECLARED_AGAIN} * interval '1 ms' AS is_untold,
                    paused_at IS NULL AND next_at <= CASE WHEN is_ours THEN now() ELSE now() - ${GRACE} * interval '1 ms' END AS is_due
             FROM (SELECT present.*, present.cron = ours.cron AND present.timezone = ours.timezone AS is_ours
                   FROM task_schedule AS present JOIN unnest($1::text[], $2::text[], $3::text[]) AS ours (type, cron, timezone) USING (type)) AS declared) AS looked
       WHERE is_due OR is_untold`,
      [all.map(({ type }) => type), all.map(({ schedule }) => schedule.cron), all.map(({ schedule }) => timezoneOf(schedule))],
    );
    // Whoever is the first to see it says so for all.
    const untold = found.filter(({ isUntold }) => isUntold).map(({ type }) => type);
    if (untold.length > 0) {
      await this.dataSource.query(
        `UPDATE task_schedule SET declared_at = now() WHERE type = ANY(ARRAY(
           SELECT type FROM task_schedule WHERE type = ANY($1::text[]) ORDER BY type FOR UPDATE SKIP LOCKED))`,
        [untold],
      );
    }
    const due = found.filter(({ isDue }) => isDue);
    const isDue = new Set(due.map(({ type }) => type));
    for (const periodic of all) {
      if (!isDue.has(periodic.type) && !this.unannounced.has(periodic)) this.logger.well(sourceOf(periodic));
    }
    for (const { type, isOurs } of due) {
      const periodic = this.periodic.get(type)!;
      await this.separately(periodic, () => (isOurs ? this.run(periodic) : this.announce(periodic)));
    }
    this.logger.well('scheduler');
  }

  /** What is wrong with one schedule is no matter of the others; an absent database is. */
  private async separately(periodic: Periodic, job: () => Promise<void>): Promise<void> {
    const source = sourceOf(periodic);
    try {
      await job();
      this.logger.well(source);
    } catch (error) {
      if (isDatabaseUnavailable(error)) throw error;
      this.logger.trouble(source, error);
    }
  }

  /** Distributes the task and sets the next tick; does nothing where another worker is doing that, or has, or has changed the schedule. */
  private run({ type, schedule, handler }: Periodic): Promise<void> {
    return this.dataSource.transaction(async (manager) => {
      const [locked] = await manager.query<{ nextAt: Date; now: Date }[]>(
        `SELECT next_at AS "nextAt", now() FROM task_schedule
         WHERE type = $1 AND cron = $2 AND timezone = $3 AND next_at <= now() AND paused_at IS NULL FOR UPDATE SKIP LOCKED`,
        [type, schedule.cron, timezoneOf(schedule)],
      );
      if (!locked) return;
      const { nextAt, now } = locked;
      const grace = new Date(now.getTime() - GRACE);
      // The newest tick that is due lies further back than the grace.
      const isMissed = nextAt < grace && nextTick(schedule, grace, type) > now;
      const runs = !isMissed || schedule.missed === 'once';
      const taskId = runs ? (await this.distributor.distribute(handler, {}, { manager })).id : null;
      await manager.query(`UPDATE task_schedule SET next_at = $2, ${withTick('$3')} WHERE type = $1`, [
        type,
        nextTick(schedule, now, type),
        JSON.stringify(tickOf(nextAt, now, taskId)),
      ]);
    });
  }

  /** Makes the schedule's row; one whose expression has changed begins anew. */
  private async announce(periodic: Periodic): Promise<void> {
    const { type, schedule } = periodic;
    const [{ now }] = await this.dataSource.query<[{ now: Date }]>(`SELECT now()`);
    await this.dataSource.query(
      `INSERT INTO task_schedule AS present (type, cron, timezone, next_at) VALUES ($1, $2, $3, $4)
       ON CONFLICT (type) DO UPDATE SET cron = excluded.cron, timezone = excluded.timezone, next_at = excluded.next_at, declared_at = now()
       WHERE present.cron <> excluded.cron OR present.timezone <> excluded.timezone`,
      [type, schedule.cron, timezoneOf(schedule), nextTick(schedule, now, type)],
    );
    this.unannounced.delete(periodic);
  }
}

function timezoneOf(schedule: Schedule): string {
  return schedule.timezone ?? 'UTC';
}

/** What the log calls it. */
function sourceOf({ type }: Periodic): string {
  return `the schedule of ${type}`;
}

/** @throws Error for a schedule that could never be run. */
async function periodicOf({ policy, handler }: RegisteredTask): Promise<Periodic[]> {
  const { type, schedule } = policy;
  if (!schedule) return [];
  try {
    nextTick(schedule, new Date(), type);
  } catch (error) {
    throw new Error(`"${type}" has a schedule that cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    await payloadJson(policy, {});
  } catch (error) {
    throw new Error(`"${type}" has a schedule, which distributes it with the payload {}, but ${(error as Error).message}`, {
      cause: error,
    });
  }
  return [{ type, schedule, handler: handler.constructor as Type<TaskHandler<unknown>> }];
}
