import { Injectable } from '@nestjs/common';
import { CronExpressionParser } from 'cron-parser';
import { DataSource, LessThanOrEqual } from 'typeorm';
import { TaskDistributor } from './distributor.js';
import { Loop } from './loop.js';
import { type RegisteredTask, TaskRegistry } from './registry.js';
import type { Schedule, TaskHandler } from './task.js';
import { TaskLogger } from './task-logger.js';
import { ScheduleRecord } from './task-record.entity.js';
import type { Type } from '@nestjs/common';

/** Milliseconds. */
const INTERVAL = 1_000;
/** A tick that is later than this was missed: no worker was there for it. */
const GRACE = 60_000;

/**
 * Distributes periodic tasks. The schedule is a row that one worker locks, and
 * the tick and its task are one transaction: once a tick, however many workers.
 */
@Injectable()
export class Scheduler {
  private readonly loop = new Loop(
    () => this.tick(),
    INTERVAL,
    (error) => this.logger.trouble('scheduler', error),
  );
  private scheduled: ReadonlyMap<string, RegisteredTask> = new Map();
  private announced = false;

  constructor(
    private readonly dataSource: DataSource,
    private readonly registry: TaskRegistry,
    private readonly distributor: TaskDistributor,
    private readonly logger: TaskLogger,
  ) {}

  /** @throws Error for a cron expression or a time zone that cannot be read. */
  start(): void {
    this.scheduled = new Map(this.registry.all().flatMap((task) => (task.policy.schedule ? [[task.policy.type, task]] : [])));
    for (const [type, { policy }] of this.scheduled) {
      try {
        nextTick(policy.schedule!, new Date());
      } catch (error) {
        throw new Error(`"${type}" has a schedule that cannot be read: ${(error as Error).message}`, { cause: error });
      }
    }
    if (this.scheduled.size > 0) this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  private async tick(): Promise<void> {
    if (!this.announced) {
      for (const [type, { policy }] of this.scheduled) await this.announce(type, policy.schedule!);
      this.announced = true;
    }
    await this.dataSource.transaction(async (manager) => {
      const due = await manager.find(ScheduleRecord, {
        where: { nextAt: LessThanOrEqual(new Date()) },
        lock: { mode: 'pessimistic_write', onLocked: 'skip_locked' },
      });
      for (const record of due) {
        const task = this.scheduled.get(record.type);
        // Another version of the workers has it.
        if (!task) continue;
        const schedule = task.policy.schedule!;
        if (!isMissed(record, schedule) || schedule.missed === 'once') {
          await this.distributor.distribute(task.handler.constructor as Type<TaskHandler<unknown>>, {}, { manager });
        }
        await manager.update(ScheduleRecord, { type: record.type }, { nextAt: nextTick(schedule, new Date()) });
      }
    });
    this.logger.well('scheduler');
  }

  /** Makes the schedule's row; one whose expression has changed begins anew. */
  private async announce(type: string, schedule: Schedule): Promise<void> {
    await this.dataSource.query(
      `INSERT INTO task_schedule AS present (type, cron, timezone, next_at) VALUES ($1, $2, $3, $4)
       ON CONFLICT (type) DO UPDATE SET cron = excluded.cron, timezone = excluded.timezone, next_at = excluded.next_at
       WHERE present.cron <> excluded.cron OR present.timezone <> excluded.timezone`,
      [type, schedule.cron, schedule.timezone ?? 'UTC', nextTick(schedule, new Date())],
    );
  }
}

function nextTick(schedule: Schedule, after: Date): Date {
  return CronExpressionParser.parse(schedule.cron, { currentDate: after, tz: schedule.timezone ?? 'UTC' })
    .next()
    .toDate();
}

/** Whether the newest tick that is due lies further back than the grace. */
function isMissed(record: ScheduleRecord, schedule: Schedule): boolean {
  const newest = CronExpressionParser.parse(schedule.cron, { currentDate: new Date(), tz: schedule.timezone ?? 'UTC' })
    .prev()
    .toDate();
  return Math.max(newest.getTime(), record.nextAt.getTime()) < Date.now() - GRACE;
}
