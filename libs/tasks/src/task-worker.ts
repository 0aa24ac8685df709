import { type Job, type Processor, Worker, type WorkerOptions } from 'bullmq';
import { releaseWorkerConnection, workerConnection } from './dispatcher.js';
import type { JobData } from './job.js';

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
  private release: (() => Promise<void>) | undefined;

  constructor(name: string, processor: string | URL | null | Processor<JobData>, options: WorkerOptions) {
    super(name, processor, { ...options, connection: workerConnection(options.connection) });
    this.release = () => releaseWorkerConnection(options.connection);
  }

  /** Begins what `run()` would begin, but for its loop: lock renewal and the search for crashed workers' jobs. */
  async begin(): Promise<void> {
    this.lockManager.start();
    await this.startStalledCheckTimer();
  }

  /** Fetches no more; resolves when the fetches under way have come in. */
  async halt(): Promise<void> {
    this.halted = true;
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

  override async close(force?: boolean): Promise<void> {
    try {
      await super.close(force);
    } finally {
      const { release } = this;
      this.release = undefined;
      await release?.();
    }
  }
}
