import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Delivery, Outcome } from '../dispatch/delivery.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { Election } from '../ledger/election.js';
import { TasksPool } from '../ledger/tasks-pool.js';
import { Loop } from '../loop.js';
import { countQueues } from '../operate/counts.js';
import { EngineOptions } from '../options.js';
import { TaskLogger } from '../task-logger.js';

/** How often a worker adds what it has counted. Milliseconds. */
const INTERVAL = 10_000;
/** How often the elected one measures. Milliseconds. */
const GAUGE_INTERVAL = 60_000;
/** How long the minutes are kept: a day, and what a chart of it needs besides. Hours. */
const KEPT = 25;

interface Counts {
  started: number;
  completed: number;
  failed: number;
  died: number;
  waits: number;
  waited: number;
  ran: number;
}

/** Adds the counts of the queues $1 to the minute that is now; in their order, so that no two workers wait for each other crosswise. */
const ADD = `
  INSERT INTO task_statistic AS present (minute, queue, started, completed, failed, died, waits, waited, ran)
  SELECT date_trunc('minute', now()), counted.*
  FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], $7::float8[], $8::float8[]) AS counted
  ORDER BY 2
  ON CONFLICT (minute, queue) DO UPDATE SET
    started = present.started + excluded.started, completed = present.completed + excluded.completed,
    failed = present.failed + excluded.failed, died = present.died + excluded.died,
    waits = present.waits + excluded.waits, waited = present.waited + excluded.waited, ran = present.ran + excluded.ran`;

const GAUGE = `
  INSERT INTO task_statistic (minute, queue, ready, running, delayed, dead, latency)
  SELECT date_trunc('minute', now()), gauged.*
  FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::int[], $6::float8[]) AS gauged
  ORDER BY 2
  ON CONFLICT (minute, queue) DO UPDATE SET
    ready = excluded.ready, running = excluded.running, delayed = excluded.delayed, dead = excluded.dead, latency = excluded.latency`;

const PURGE = `DELETE FROM task_statistic WHERE minute < now() - interval '${KEPT} hours'`;

/** The largest integer that a column holds. */
const MOST = 2 ** 31 - 1;

/**
 * What the charts are made of: every worker adds its counts to the minute, every ten
 * seconds in one statement, and one of all measures once a minute how much there is.
 * What cannot be written while the database is away is written later, into a later minute.
 */
@Injectable()
export class Statistics {
  private counts = new Map<string, Counts>();
  private readonly adding = new Loop(
    () => this.add(),
    INTERVAL,
    (error) => this.logger.trouble('statistics', error),
  );
  private readonly gauging = new Loop(
    () => this.gauge(),
    GAUGE_INTERVAL,
    (error) => this.logger.trouble('gauges', error),
  );

  constructor(
    private readonly dataSource: DataSource,
    private readonly pool: TasksPool,
    private readonly election: Election,
    private readonly clock: DatabaseClock,
    private readonly options: EngineOptions,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.adding.start();
    this.gauging.start();
    this.election.onElected = () => this.gauging.wake();
  }

  /** Writes what was counted last; where the database does not take it, that is lost. */
  async stop(): Promise<void> {
    await Promise.all([this.adding.stop(), this.gauging.stop()]);
    await this.add().catch((error: unknown) => this.logger.trouble('statistics', error));
  }

  /** Counts an attempt. @returns what is to be told how it ended. */
  begin({ queue, dueAt }: Delivery): (outcome: Outcome) => void {
    const counts = this.of(queue);
    counts.started += 1;
    if (dueAt !== undefined) {
      counts.waits += 1;
      counts.waited += Math.max(0, this.clock.now() - dueAt);
    }
    const begin = performance.now();
    return (outcome) => this.end(queue, outcome, performance.now() - begin);
  }

  private end(queue: string, outcome: Outcome, took: number): void {
    const counts = this.of(queue);
    counts.ran += took;
    if (outcome.kind === 'completed' && outcome.moot === undefined) counts.completed += 1;
    if (outcome.kind === 'retry' || outcome.kind === 'buried') counts.failed += 1;
    if (outcome.kind === 'buried') counts.died += 1;
  }

  private of(queue: string): Counts {
    let counts = this.counts.get(queue);
    if (!counts) {
      counts = { started: 0, completed: 0, failed: 0, died: 0, waits: 0, waited: 0, ran: 0 };
      this.counts.set(queue, counts);
    }
    return counts;
  }

  private async add(): Promise<void> {
    const all = [...this.counts];
    if (all.length === 0) return;
    this.counts = new Map();
    const column = (name: keyof Counts) => all.map(([, counts]) => counts[name]);
    try {
      await this.pool.change(
        ADD,
        [
          all.map(([queue]) => queue),
          column('started'),
          column('completed'),
          column('failed'),
          column('died'),
          column('waits'),
          column('waited'),
          column('ran'),
        ],
        this.pool.relaxed,
      );
    } catch (error) {
      // Counted meanwhile, or not: it is the same sum. Where the answer alone was lost, it is counted twice.
      for (const [queue, counts] of all) {
        const since = this.of(queue);
        for (const name of Object.keys(counts) as (keyof Counts)[]) since[name] += counts[name];
      }
      throw error;
    }
    this.logger.well('statistics');
  }

  private async gauge(): Promise<void> {
    if (this.election.heldFor === undefined) return;
    const queues = await countQueues(this.dataSource, this.options.queueNames);
    const whole = (count: number) => Math.min(MOST, count);
    await this.pool.change(
      GAUGE,
      [
        queues.map(({ queue }) => queue),
        queues.map(({ ready }) => whole(ready.count)),
        queues.map(({ running }) => whole(running.count)),
        queues.map(({ delayed }) => whole(delayed.count)),
        queues.map(({ dead }) => whole(dead.count)),
        queues.map(({ latency }) => latency),
      ],
      this.pool.relaxed,
    );
    await this.pool.change(PURGE, [], this.pool.relaxed);
    this.logger.well('gauges');
  }
}
