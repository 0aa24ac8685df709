import { EventEmitter } from 'node:events';
import type { IQueueBackend, JobJson, JobsOptions } from 'bullmq';
import { jobIdOf } from './job.js';
import type { ClaimedTask, Release } from '../ledger/claims.js';
import type { QueueClaims } from './queue-claims.js';

/** What BullMQ is given for a job that it may run: its record, its id, no limit of the rate, and no time to wait for. */
type Fetched = [job: JobJson, id: string, limit: 0, until: 0] | [job: undefined, id: undefined, limit: 0, until: 0];

const NOTHING: Fetched = [undefined, undefined, 0, 0];

/** What a {@link LedgerBackend} needs of its surroundings. */
export interface LedgerBackendContext {
  claims: QueueClaims;
  /** Gives a claim up. Resolves when the ledger has it. */
  release: (release: Release) => Promise<void>;
  /** Told that a task which this process had claimed from quarantine has ended. */
  onQuarantinedEnd: () => void;
}

/** What of BullMQ's contract the ledger does not do. */
const UNSUPPORTED = [
  'addFlow',
  'addJob',
  'addJobScheduler',
  'addJobs',
  'addLog',
  'changeDelay',
  'changePriority',
  'cleanJobsByState',
  'clearLogs',
  'deleteDeduplicationKey',
  'drain',
  'extendLock',
  'extendLocks',
  'forQueue',
  'getClientList',
  'getCounts',
  'getCountsPerPriority',
  'getDeduplicationJobId',
  'getDependencies',
  'getDependencyCounts',
  'getIgnoredChildrenFailures',
  'getJobData',
  'getJobLogs',
  'getJobScheduler',
  'getJobSchedulerData',
  'getJobSchedulersCount',
  'getJobSchedulersRange',
  'getMetrics',
  'getProcessedChildrenValues',
  'getQueueMeta',
  'getQueueMetaField',
  'getQueueMetaFields',
  'getRanges',
  'getRateLimitTtl',
  'getState',
  'hasQueueMetaField',
  'isFinished',
  'isJobInState',
  'isJobScheduler',
  'isMaxed',
  'moveStalledJobsToWait',
  'moveToWaitingChildren',
  'obliterate',
  'paginate',
  'parseNodeKey',
  'pause',
  'promote',
  'promoteJobs',
  'publishEvent',
  'readEvents',
  'remove',
  'removeChildDependency',
  'removeDeduplicationKey',
  'removeDeprecatedPriorityKey',
  'removeJobScheduler',
  'removeOrphanedJobs',
  'removeQueueMetaFields',
  'removeRateLimitKey',
  'removeUnprocessedChildren',
  'retryFinishedJob',
  'retryFinishedJobs',
  'setQueueMeta',
  'setRateLimit',
  'trimEvents',
  'updateData',
  'updateJobSchedulerNextMillis',
  'updateProgress',
] as const satisfies readonly (keyof IQueueBackend)[];

// eslint-disable-next-line typescript/no-unsafe-declaration-merging -- the methods are put on the prototype below
export interface LedgerBackend extends Pick<IQueueBackend, (typeof UNSUPPORTED)[number]> {}

/**
 * BullMQ's store, on the ledger: what a `Worker` asks for becomes claims of the
 * queue's rows. How a task ended the runner has written before BullMQ hears of it,
 * so that to complete a job, or to fail it for good, is only to fetch the next one;
 * what is to run again is a claim that is given up.
 *
 * @throws Error that names it, for whatever else BullMQ could ask of a store.
 */
// eslint-disable-next-line typescript/no-unsafe-declaration-merging -- see above
export class LedgerBackend extends EventEmitter implements IQueueBackend {
  readonly minimumBlockTimeout = 0.001;
  readonly keys = {} as IQueueBackend['keys'];
  closing: Promise<void> | undefined;
  private readonly running = new Map<string, ClaimedTask>();

  constructor(
    readonly qualifiedName: string,
    private readonly context: LedgerBackendContext,
  ) {
    super();
  }

  async waitUntilReady(): Promise<void> {}

  close(): Promise<void> {
    this.closing ??= Promise.resolve();
    return this.closing;
  }

  async disconnect(): Promise<void> {}

  async setName(): Promise<void> {}

  toKey(type: string): string {
    return `${this.qualifiedName}:${type}`;
  }

  clientName(suffix = ''): string {
    return `${this.qualifiedName}${suffix}`;
  }

  async moveToActive(): Promise<Fetched> {
    const task = await this.context.claims.ask();
    if (!task) return NOTHING;
    const id = jobIdOf(task);
    this.running.set(id, task);
    return [recordOf(task, id), id, 0, 0];
  }

  async moveToCompleted(job: { id?: string }, _value: unknown, _remove: unknown, _token: string, fetchNext: boolean): Ended {
    this.running.delete(job.id!);
    return this.finished(fetchNext);
  }

  async moveToFailed(job: { id?: string }, _reason: string, _remove: unknown, _token: string, fetchNext: boolean): Ended {
    this.running.delete(job.id!);
    return this.finished(fetchNext);
  }

  async moveToDelayed(
    jobId: string,
    _now: number,
    delay: number,
    _token?: string,
    options: Parameters<IQueueBackend['moveToDelayed']>[4] = {},
  ): Promise<void | Fetched> {
    void this.giveUp(jobId, { delay, failed: options.skipAttempt !== true });
    return options.fetchNext ? this.moveToActive() : undefined;
  }

  async retryJob(jobId: string): Promise<void> {
    void this.giveUp(jobId, { delay: 0, failed: true });
  }

  /** Gives a job back whose attempt did not begin, or was told to stop. */
  async moveJobFromActiveToWait(jobId: string): Promise<number> {
    await this.giveUp(jobId, {});
    return 0;
  }

  async waitForJob(seconds: number): Promise<null> {
    await this.context.claims.wait(seconds * 1_000);
    return null;
  }

  async disconnectBlocking(): Promise<void> {
    this.context.claims.wake();
  }

  async reconnectBlocking(): Promise<void> {}

  /** Says that the job's handler has ended, whatever BullMQ is going to make of that. */
  handled(jobId: string): void {
    if (this.running.get(jobId)?.quarantined) this.context.onQuarantinedEnd();
  }

  /** Where the ledger knows how the task ended it gives up nothing, since the claim is over. */
  private giveUp(jobId: string, how: Omit<Release, 'task'>): Promise<void> {
    const task = this.running.get(jobId);
    this.running.delete(jobId);
    return task ? this.context.release({ task, ...how }) : Promise.resolve();
  }

  private async finished(fetchNext: boolean): Ended {
    return { result: fetchNext ? await this.moveToActive() : undefined, finishedOn: Date.now() };
  }
}

type Ended = Promise<{ result: void | Fetched; finishedOn: number }>;

for (const name of UNSUPPORTED) {
  Object.defineProperty(LedgerBackend.prototype, name, {
    value: () => {
      throw new Error(`the ledger, as a store of BullMQ, has no "${name}"`);
    },
  });
}

/** The job of a claimed task. Its payload is passed on as the text that the ledger gave, and read once, by BullMQ. */
function recordOf(task: ClaimedTask, id: string): JobJson {
  const { payload, options, createdAt, dueAt, version, failures, requestId, keep, claimedBy, quarantined } = task;
  const rest = JSON.stringify({ options, createdAt, version, failures, requestId: requestId ?? undefined, keep, claimedBy, quarantined });
  const opts: JobsOptions = { attempts: Math.max(1, options.maxRetry + 1 - failures), backoff: { type: 'ledger' }, stackTraceLimit: 1 };
  return {
    id,
    name: task.type,
    data: `{"payload":${payload},${rest.slice(1)}`,
    opts,
    progress: 0,
    attemptsMade: 0,
    attemptsStarted: task.delivery,
    // When it was due, which is the start of whatever BullMQ makes of it.
    timestamp: dueAt,
    processedOn: Date.now(),
    failedReason: '',
    returnvalue: '',
    stalledCounter: task.crashes,
  };
}
