import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import type pg from 'pg';
import { Loop } from '../loop.js';
import { EngineOptions } from '../options.js';
import { TaskLogger } from '../task-logger.js';
import { Listener } from './listener.js';
import type { RunningEntry } from './task-record.entity.js';
import { TasksPool } from './tasks-pool.js';

/** How long a worker is taken to be alive without a word of it. Milliseconds. */
export const LEASE = 15_000;
/** After so long without a renewal a worker is taken for dead although its connection is there: a process that hangs. Milliseconds. */
export const SILENCE = 120_000;
const RENEWAL_INTERVAL = 3_000;
const RETRY_INTERVAL = 500;
/** How many of the tasks that it runs a worker shows, those first that run for the longest time: a row in the ledger has an end. */
const SHOWN = 100;

/** The first of two keys of an advisory lock, any number; the second is the worker's id, and its holder is there. */
export const PRESENCE_LOCK = 730_945_302;

/**
 * Whether a worker looks lost, in so many milliseconds; SQL about a row of `task_worker`. A lease that has run out alone
 * says little, for the database may have been away from everybody, or the worker's
 * event loop blocked: the worker's connection must be gone besides, or nothing be heard
 * of it for two minutes.
 */
export const looksLost = (soon: number) => `
  lease_until < now() + ${soon} * interval '1 ms' AND (
    lease_until < now() + ${soon - (SILENCE - LEASE)} * interval '1 ms' OR NOT EXISTS (
      SELECT FROM pg_locks
      WHERE locktype = 'advisory' AND classid = ${PRESENCE_LOCK} AND objid = task_worker.id AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))`;

/**
 * This process among those that claim tasks: a row that is renewed while the
 * process lives, in place of a lease a task, and an advisory lock on a connection
 * of its own. When both are gone the row is removed, and what the process had
 * claimed is void ({@link Maintenance}).
 */
@Injectable()
export class WorkerLease {
  private worker: number | undefined;
  readonly renewing = new Loop(
    () => this.renew(),
    RENEWAL_INTERVAL,
    (error) => this.logger.trouble('lease', error),
  );
  private readonly onConnected = (client: pg.Client) => {
    void this.show(client);
    // The database may have been away for longer than the lease.
    this.renewing.wake();
  };
  /** Called when the process was taken for dead: what it has claimed is not its own any more. */
  onLost: () => void = () => undefined;
  /** What this process runs, for operators to see. */
  running: () => readonly RunningEntry[] = () => [];

  constructor(
    private readonly options: EngineOptions,
    private readonly pool: TasksPool,
    private readonly listener: Listener,
    private readonly logger: TaskLogger,
  ) {}

  /** What claims are marked with. */
  get id(): number {
    if (this.worker === undefined) throw new Error('the worker is not registered');
    return this.worker;
  }

  /** Resolves when the worker is known to the ledger, for which it waits for a database that is away. */
  async start(): Promise<void> {
    for (;;) {
      try {
        await this.register();
        break;
      } catch (error) {
        this.logger.trouble('lease', error);
        await wait(RETRY_INTERVAL);
      }
    }
    this.listener.on('connected', this.onConnected);
    const { connection } = this.listener;
    if (connection) this.onConnected(connection);
    this.renewing.start();
  }

  /** What is still claimed then, since it could not be given back, is void. */
  async stop(): Promise<void> {
    this.listener.off('connected', this.onConnected);
    await this.renewing.stop();
    if (this.worker !== undefined) await this.pool.change('DELETE FROM task_worker WHERE id = $1', [this.worker]);
  }

  private async register(): Promise<void> {
    const { version, concurrency, weights } = this.options;
    const queues = Object.fromEntries(weights.queues.map(({ name, weight }) => [name, weight]));
    // Durable: a server that forgets the row in a crash could give its id to another worker.
    const [row] = await this.pool.rows<{ id: number }>(
      `INSERT INTO task_worker (host, pid, lease_until, version, queues, slots, busy, running)
       VALUES ($1, $2, now() + $3::float8 * interval '1 ms', $4, $5, $6, '{}', '[]') RETURNING id`,
      [hostname(), process.pid, LEASE, version ?? null, queues, concurrency],
    );
    this.worker = row!.id;
  }

  private async renew(): Promise<void> {
    await faultPoint('lease.before-renewal');
    const running = this.running();
    const busy = Object.fromEntries([...Map.groupBy(running, ({ queue }) => queue)].map(([queue, { length }]) => [queue, length]));
    const shown = running.toSorted((a, b) => a.since - b.since).slice(0, SHOWN);
    const renewed = await this.pool.change(
      `UPDATE task_worker SET lease_until = now() + $2::float8 * interval '1 ms', busy = $3, running = $4::jsonb WHERE id = $1`,
      [this.id, LEASE, busy, JSON.stringify(shown)],
      this.pool.relaxed,
    );
    if (renewed === 0) {
      this.logger.takenForDead();
      await this.register();
      this.onLost();
      if (this.listener.connection) await this.show(this.listener.connection);
    }
    this.logger.well('lease');
  }

  /** Holds the lock that says so, for as long as the connection lasts. */
  private async show(client: pg.Client): Promise<void> {
    try {
      await client.query(`SELECT pg_advisory_lock_shared(${PRESENCE_LOCK}, ${this.id})`);
    } catch (error) {
      // The connection is lost: the next one shows it again.
      this.logger.trouble('lease', error);
    }
  }
}
