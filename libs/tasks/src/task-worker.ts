import { setTimeout as wait } from 'node:timers/promises';
import { type Job, type Processor, Worker, type WorkerOptions } from 'bullmq';
import { CLOSE_TIMEOUT, endsWithin } from './deadline.js';
import { isRefusal, releaseWorkerConnection, workerConnection } from './dispatcher.js';
import type { JobData } from './job.js';

/** Milliseconds. */
const RETRY_INTERVAL = 500;

/**
 * A BullMQ worker whose loop is ours: it hands out single jobs to the
 * {@link TaskProcessor}, which decides which queue is next.
 *
 * Everything here is BullMQ's public or protected API; a test holds each part
 * of it that the library could change.
 */
export class TaskWorker extends Worker<JobData> {
  /** Called whenever the dispatcher has answered. */
  onAnswer: () => void = () => undefined;
  private halted = false;
  private readonly fetches = new Set<Promise<unknown>>();
  private readonly release: () => Promise<void>;
  private ending: Promise<void> | undefined;

  constructor(name: string, processor: string | URL | null | Processor<JobData>, options: WorkerOptions) {
    super(name, processor, { ...options, connection: workerConnection(options.connection) });
    this.release = () => releaseWorkerConnection(options.connection);
  }

  /** Begins what `run()` would begin, but for its loop: lock renewal and the search for crashed workers' jobs. */
  async begin(): Promise<void> {
    this.lockManager.start();
    await this.startStalledCheckTimer();
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
    if (this.halted) return undefined as unknown as Job<JobData>;
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
    const giveUpAt = Date.now() + this.opts.lockDuration!;
    for (;;) {
      try {
        return await tell();
      } catch (error) {
        if (!isRefusal(error) || Date.now() > giveUpAt) throw error;
        this.emit('error', error as Error);
        await wait(RETRY_INTERVAL);
      }
    }
  }

  override close(force?: boolean): Promise<void> {
    this.ending ??= endsWithin(CLOSE_TIMEOUT, Promise.all([super.close(force), this.release()])).then(() => undefined);
    return this.ending;
  }
}
