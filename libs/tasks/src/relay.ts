import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { faultPoint } from '@app/faults';
import pg from 'pg';
import { jobOf } from './job.js';
import { CANCEL_CHANNEL, CLAIM_SIZE, Ledger, type PendingTask } from './ledger.js';
import { Loop } from './loop.js';
import { TaskQueues } from './queues.js';
import { TaskRunner } from './runner.js';
import { TaskLogger } from './task-logger.js';
import { answered } from './deadline.js';
import { TASK_CHANNEL } from './waker.js';

/** Milliseconds. */
const POLL_INTERVAL = 2_000;
const LISTEN_CHECK_INTERVAL = 10_000;
const LISTEN_RETRY_INTERVAL = 1_000;

/**
 * Moves tasks from the ledger into BullMQ. Every worker process runs one; they
 * share the work by `SKIP LOCKED`. Woken by the process that wrote a task, once
 * that is committed; the poll behind it finds what a lost wake-up left.
 */
@Injectable()
export class Relay {
  private readonly loop = new Loop(
    () => this.dispatch(),
    POLL_INTERVAL,
    (error) => this.logger.trouble('relay', error),
  );
  private listener: pg.Client | undefined;
  private check: NodeJS.Timeout | undefined;
  private stopped = false;
  /** Whether the last run failed. */
  private failing = false;

  constructor(
    private readonly config: Config,
    private readonly ledger: Ledger,
    private readonly queues: TaskQueues,
    private readonly runner: TaskRunner,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.loop.start();
    void this.listen();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.check);
    await this.loop.stop();
    await this.listener?.end().catch(() => undefined);
  }

  private async dispatch(): Promise<void> {
    // A claim that cannot be dispatched leaves dead rows behind: while the dispatcher takes none, ask it first.
    if (this.failing) await answered(this.queues.ask());
    this.failing = true;
    if ((await this.dispatchBatch()) === CLAIM_SIZE) {
      // While one batch is on its way to the dispatcher, the database works on another.
      const lanes = await Promise.allSettled([this.dispatchBacklog(), this.dispatchBacklog()]);
      for (const lane of lanes) if (lane.status === 'rejected') throw lane.reason;
    }
    this.failing = false;
    this.logger.well('relay');
  }

  private async dispatchBacklog(): Promise<void> {
    while (!this.stopped && (await this.dispatchBatch()) === CLAIM_SIZE);
  }

  private dispatchBatch(): Promise<number> {
    return this.ledger.dispatchPending((tasks) => answered(this.add(tasks)));
  }

  private async add(tasks: PendingTask[]): Promise<void> {
    const byQueue = Map.groupBy(tasks, (task) => task.queue);
    await Promise.all(
      [...byQueue].map(async ([queue, group]) => {
        await this.queues.of(queue).addBulk(group.map(jobOf));
        await faultPoint('relay.after-add');
      }),
    );
  }

  /** Holds a connection that listens; opens another one whenever it is lost. */
  private async listen(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.config.DATABASE_URL,
      application_name: 'waybill-relay',
      keepAlive: true,
      connectionTimeoutMillis: 5_000,
      query_timeout: 5_000,
    });
    this.listener = client;
    let lost = false;
    const reconnect = (error?: Error) => {
      if (lost || this.stopped) return;
      lost = true;
      if (error) this.logger.trouble('relay', error);
      clearTimeout(this.check);
      client.end().catch(() => undefined);
      this.check = setTimeout(() => void this.listen(), LISTEN_RETRY_INTERVAL);
    };
    client.on('error', reconnect);
    client.on('end', () => reconnect());
    client.on('notification', ({ channel, payload }) => {
      if (channel === CANCEL_CHANNEL) this.runner.interrupt(payload ?? '', 'cancelled');
      else this.loop.wake();
    });
    try {
      await client.connect();
      await client.query(`LISTEN ${TASK_CHANNEL}; LISTEN ${CANCEL_CHANNEL}`);
      this.loop.wake();
      this.checkListener(client, reconnect);
    } catch (error) {
      reconnect(error as Error);
    }
  }

  /** A connection that a proxy or a firewall has dropped says nothing for ever: ask. */
  private checkListener(client: pg.Client, reconnect: (error: Error) => void): void {
    if (this.stopped) return;
    this.check = setTimeout(() => {
      void this.askListener(client, reconnect);
    }, LISTEN_CHECK_INTERVAL);
  }

  private async askListener(client: pg.Client, reconnect: (error: Error) => void): Promise<void> {
    try {
      await client.query('SELECT 1');
      this.checkListener(client, reconnect);
    } catch (error) {
      reconnect(error as Error);
    }
  }
}
