import { setTimeout as wait } from 'node:timers/promises';
import { type Job, type Processor, Worker, type WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { CLOSE_TIMEOUT, endsWithin } from '../ends-within.js';
import type { LedgerBackend } from '../dispatch/ledger-backend.js';
import { LedgerDispatcher } from '../dispatch/ledger-dispatcher.js';
import { isRefusal, releaseWorkerConnection, workerConnection } from '../dispatch/redis/connection.js';
import type { JobData } from '../dispatch/job.js';

/** Milliseconds. */
const RETRY_INTERVAL = 500;

/**
 * A BullMQ worker whose loop is ours: it hands out single jobs to the
 * {@link TaskProcessor}, which decides which queue is next. Its `connection` is a
 * client of Redis, or the {@link LedgerDispatcher}, whose store it works on then.
 *
 * Everything here is BullMQ's public or protected API; a test holds each part
 * of it that the library could change.
 */
export class TaskWorker extends Worker<JobData> {
  /** Called whenever the dispatcher has answered. */
  onAnswer: () => void = () => undefined;
  /** Under which name jobs are fetched. */
  claimant: () => string | undefined = () => undefined;
  /** Asked before every fetch. */
  mayFetch: () => boolean = () => true;
  private halted = false;
  private readonly fetches = new Set<Promise<unknown>>();
  private readonly onLedger: LedgerBackend | undefined;
  private readonly releaseConnection: () => void;
  private ending: Promise<void> | undefined;

  constructor(name: string, processor: string | URL | null | Processor<JobData>, { connection, ...options }: WorkerOptions) {
    if (isLedger(connection)) {
      const backend = connection.backend(name);
      super(name, processor, { ...options, connection: {} }, () => backend as never);
      this.onLedger = backend;
      this.releaseConnection = () => undefined;
    } else {
      super(name, processor, { ...options, connection: workerConnection(connection as Redis) });
      this.releaseConnection = () => releaseWorkerConnection(connection as Redis);
    }
    // It changes when this process was taken for dead.
    Object.defineProperty(this.opts, 'name', { get: () => this.claimant() });
  }

  /** Begins what `run()` would begin, but for its loop: lock renewal and the search for crashed workers' jobs. On the ledger a process has a lease instead. */
  async begin(): Promise<void> {
    if (this.onLedger) return;
    this.lockManager.start();
    await this.startStalledCheckTimer();
  }

  protected override async callProcessJob(...call: Parameters<Worker<JobData>['callProcessJob']>): Promise<unknown> {
    try {
      return await super.callProcessJob(...call);
    } finally {
      this.onLedger?.handled(call[0].id!);
    }
  }

  /** Fetches no more, from now on. */
  halt(): void {
    this.halted = true;
  }

  /** Resolves when the fetches under way have come in, for which a dispatcher that is away would have one wait for ever. */
  async fetched(): Promise<void> {
    await Promise.allSettled(this.fetches);
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job<JobData>> {
    // BullMQ itself answers with undefined for "no job"; its declaration does not say so.
    if (this.halted || !this.mayFetch()) return undefined as unknown as Job<JobData>;
    const fetch = super.moveToActive(token, name);
    this.fetches.add(fetch);
    try {
      const job = await fetch;
      this.onAnswer();
      return job;
    } finally {
      this.fetches.delete(fetch);
    }
  }

  protected override handleCompleted(
    ...end: Parameters<Worker<JobData>['handleCompleted']>
  ): ReturnType<Worker<JobData>['handleCompleted']> {
    return this.insist(() => super.handleCompleted(...end));
  }

  protected override handleFailed(...end: Parameters<Worker<JobData>['handleFailed']>): ReturnType<Worker<JobData>['handleFailed']> {
    return this.insist(() => super.handleFailed(...end));
  }

  /**
   * Tells the dispatcher how a job has ended, and tells it again while it refuses
   * to hear of anything, for as long as the job's lock lasts: BullMQ would leave
   * the job behind at once, to be taken for that of a crashed worker.
   */
  async insist<T>(tell: () => Promise<T>): Promise<T> {
    const giveUpAt = performance.now() + this.opts.lockDuration!;
    for (;;) {
      try {
        return await tell();
      } catch (error) {
        if (!isRefusal(error) || performance.now() > giveUpAt) throw error;
        this.emit('error', error as Error);
        await wait(RETRY_INTERVAL);
      }
    }
  }

  override close(force?: boolean): Promise<void> {
    this.ending ??= endsWithin(CLOSE_TIMEOUT, super.close(force)).then(() => this.releaseConnection());
    return this.ending;
  }
}

/** BullMQ's types know only Redis here. */
function isLedger(connection: unknown): connection is LedgerDispatcher {
  return connection instanceof LedgerDispatcher;
}
