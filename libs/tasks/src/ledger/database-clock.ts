import { Injectable } from '@nestjs/common';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { TasksPool } from './tasks-pool.js';

/** Milliseconds. */
const LOOK_INTERVAL = 5_000;
const ASK_INTERVAL = 60_000;
/** How long an answer takes that is exact enough. Milliseconds. */
const QUICK = 20;

/** How far this machine's clock may be from the database's where tasks go by it. Milliseconds. */
export const MAX_SKEW = 2_000;

/**
 * The time by the database's clock, which everything that concerns a task goes by.
 * It is asked once a minute and carried on by this process's own count of what
 * passes, so that nothing here depends on what this machine's clock is set to.
 */
@Injectable()
export class DatabaseClock {
  /** What to add to `performance.now()`; undefined until the database has said what time it is. */
  private offset: number | undefined;
  private askedAt = Number.NEGATIVE_INFINITY;
  private wasRight = false;
  private readonly looking = new Loop(
    () => this.look(),
    LOOK_INTERVAL,
    (error) => this.logger.trouble('clock', error),
  );
  /** Whether a worker takes tasks only while its clock is right; for what the log says. */
  private isRequired = false;
  private onRight: () => void = () => undefined;

  constructor(
    private readonly pool: TasksPool,
    private readonly logger: TaskLogger,
  ) {}

  /**
   * Looks from now on whether this machine's clock is right.
   *
   * @param isRequired whether this process takes no tasks until it is. @param onRight called when it is, at the start or again.
   */
  start(isRequired: boolean, onRight: () => void): void {
    this.isRequired = isRequired;
    this.onRight = onRight;
    this.looking.start();
  }

  stop(): Promise<void> {
    return this.looking.stop();
  }

  /** Milliseconds since 1970; by this machine's clock until the database has been asked. */
  now(): number {
    return this.offset === undefined ? Date.now() : this.offset + performance.now();
  }

  /** By how many milliseconds this machine's clock is ahead, as it is set now. */
  get skew(): number {
    return Math.round(Date.now() - this.now());
  }

  /** Whether the database has been asked, and this machine's clock is within {@link MAX_SKEW} of its. */
  get isRight(): boolean {
    return this.offset !== undefined && Math.abs(this.skew) <= MAX_SKEW;
  }

  private async look(): Promise<void> {
    // The count of what passes stands still while a machine sleeps: before anything is said of the clock, the database is asked again.
    if (!this.isRight || performance.now() - this.askedAt >= ASK_INTERVAL) await this.ask();
    const { isRight } = this;
    if (!isRight) this.logger.clockIsOff(this.skew, this.isRequired);
    else if (!this.wasRight) this.logger.clockIsRight(this.skew);
    const isNews = isRight && !this.wasRight;
    this.wasRight = isRight;
    this.logger.well('clock');
    if (isNews) this.onRight();
  }

  /** Where the answer took long it is asked once more, and the one that took less time is believed: the first one may have waited for a connection. */
  private async ask(): Promise<void> {
    const first = await this.askOnce();
    // Whatever becomes of the second question, the first one was answered.
    const second = first.took > QUICK ? await this.askOnce().catch(() => first) : first;
    this.offset = (second.took < first.took ? second : first).offset;
    this.askedAt = performance.now();
  }

  /** Whatever the time that the answer took can explain is not held against this machine's clock. */
  private async askOnce(): Promise<{ offset: number; took: number }> {
    const [begin, passed] = [Date.now(), performance.now()];
    const [row] = await this.pool.rows<{ now: number }>(
      `SELECT (EXTRACT(epoch FROM clock_timestamp()) * 1000)::float8 AS now`,
      [],
      this.pool.relaxed,
    );
    const took = performance.now() - passed;
    const least = begin - row!.now;
    const skew = Math.min(Math.max(0, least), least + took);
    return { offset: begin - skew - passed, took };
  }
}
