import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { observePool, Pool } from '@app/postgres';
import type pg from 'pg';

/** Milliseconds. */
const CONNECT_TIMEOUT = 5_000;
const STATEMENT_TIMEOUT = 10_000;
/** How much later than the server's own limit an answer is no longer waited for. */
const QUERY_GRACE = 2_000;
const CLOSE_TIMEOUT = 2_000;

/** How many statements of each kind run at a time. */
const DURABLE_SIZE = 3;
const RELAXED_SIZE = 2;

/**
 * The engine's own connections, at most five a process: handlers that hold all
 * of the app's delay no claim, no completion and no renewal.
 *
 * Statements are prepared, planned once, and read along an index: a plan that was
 * made while the ledger was empty would otherwise read all of it later. Nor do they
 * join by nested loops: that plan would compare each of many ids with each. Postgres
 * before 18 would compile what it has to do all the same, since it takes it for dear.
 */
@Injectable()
export class TasksPool implements OnApplicationShutdown {
  /** Commits wait for the disk. */
  readonly durable: pg.Pool;
  /**
   * Commits do not wait for the disk, for what may be forgotten when the server
   * crashes: a claim, a lease. Such a task is started again.
   */
  readonly relaxed: pg.Pool;

  constructor({ databaseUrl }: EngineOptions) {
    const open = (max: number, durability: 'on' | 'off') => {
      const pool = new Pool({
        connectionString: databaseUrl,
        application_name: 'waybill-tasks',
        max,
        keepAlive: true,
        connectLimit: CONNECT_TIMEOUT,
        statement_timeout: STATEMENT_TIMEOUT,
        answerLimit: STATEMENT_TIMEOUT + QUERY_GRACE,
        options: `-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c enable_nestloop=off -c jit=off -c synchronous_commit=${durability}`,
      });
      // An idle connection that ends is no error of anybody's: the next statement opens another.
      return pool.on('error', () => undefined);
    };
    this.durable = open(DURABLE_SIZE, 'on');
    this.relaxed = open(RELAXED_SIZE, 'off');
    observePool('tasks-durable', this.durable);
    observePool('tasks-relaxed', this.relaxed);
  }

  /** The rows that a statement returns. */
  async rows<Row extends pg.QueryResultRow>(sql: string, values: unknown[] = [], pool = this.durable): Promise<Row[]> {
    return (await pool.query<Row>(sql, values)).rows;
  }

  /** How many rows a statement has written. */
  async change(sql: string, values: unknown[] = [], pool = this.durable): Promise<number> {
    return (await pool.query(sql, values)).rowCount ?? 0;
  }

  async onApplicationShutdown(): Promise<void> {
    const bound = AbortSignal.timeout(CLOSE_TIMEOUT);
    const over = new Promise<void>((resolve) => bound.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.race([Promise.allSettled([this.durable.end(), this.relaxed.end()]), over]);
  }
}
