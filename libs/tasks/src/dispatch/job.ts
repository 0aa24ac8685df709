import type { Job, JobsOptions } from 'bullmq';
import type { Delivery } from './delivery.js';
import type { PendingTask } from '../ledger/ledger.js';
import type { StoredOptions } from '../ledger/task-record.entity.js';

/**
 * What a job in BullMQ carries besides its id and its name: ids and policy, and
 * nothing about a person. What is as usual is left out: every task pays for it.
 */
export interface JobData {
  payload: unknown;
  options: StoredOptions;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Unless it is 1. */
  version?: number;
  /** Failed attempts of earlier generations, unless there were none. */
  failures?: number;
  /** Deliveries of this generation before the job was made, unless there were none. */
  begun?: number;
  requestId?: string;
  /** Whether the ledger's row outlives its completion. */
  keep?: boolean;
  /** The worker that has claimed the task from the ledger; absent on Redis. */
  claimedBy?: number;
  /** Whether it was claimed from quarantine. */
  quarantined?: boolean;
}

/** Which dispatch of which task a job is; on the ledger also by which claim, since a task that is claimed again is another job there. */
interface JobIdentity {
  id: string;
  generation: number;
  delivery?: number;
}

/** Job ids are BullMQ's. */
export function jobIdOf({ id, generation, delivery }: JobIdentity): string {
  if (delivery !== undefined) return `${id}.${generation}.${delivery}`;
  return generation === 0 ? id : `${id}.${generation}`;
}

export function taskOf(jobId: string): { id: string; generation: number } {
  const [id, generation = '0'] = jobId.split('.');
  return { id: id!, generation: Number(generation) };
}

/**
 * The job of a task that is to be put into BullMQ, as `addBulk` takes it.
 *
 * @param now milliseconds since 1970, by the database's clock: its delay begins then, in place of when this machine's clock says.
 */
export function jobOf(task: PendingTask, now: number): { name: string; data: JobData; opts: JobsOptions } {
  const { type, payload, options, createdAt, version, failures, delivery, requestId, keep, delay } = task;
  return {
    name: type,
    data: {
      payload,
      options,
      createdAt: createdAt.getTime(),
      ...(version !== 1 && { version }),
      ...(failures !== 0 && { failures }),
      ...(delivery !== 0 && { begun: delivery }),
      ...(requestId !== null && { requestId }),
      ...(keep && { keep }),
    },
    opts: {
      jobId: jobIdOf({ id: task.id, generation: task.generation }),
      ...(delay > 0 && { delay, timestamp: Math.round(now) }),
      attempts: Math.max(1, options.maxRetry + 1 - failures),
      // The delay of a retry comes with the error.
      backoff: { type: 'ledger' },
      stackTraceLimit: 1,
    },
  };
}

/** The delivery that a started job is. */
export function deliveryOf(job: Job<JobData>): Delivery {
  const {
    payload,
    options,
    createdAt,
    version = 1,
    failures = 0,
    begun = 0,
    requestId,
    keep = false,
    claimedBy,
    quarantined = false,
  } = job.data;
  const isOnLedger = claimedBy !== undefined;
  const { id, generation } = taskOf(job.id!);
  return {
    id,
    type: job.name,
    queue: job.queueName,
    payload,
    version,
    options,
    createdAt,
    dueAt: isOnLedger ? job.timestamp : dueOnRedis(job, createdAt),
    requestId,
    keep,
    generation,
    number: begun + job.attemptsStarted,
    claimedBy,
    // On Redis a job that has lost a worker is in quarantine; of the first one nobody knows whose fault it was.
    quarantined: isOnLedger ? quarantined : job.stalledCounter > 0,
    failures: failures + job.attemptsMade,
    crashes: isOnLedger ? job.stalledCounter : Math.max(0, job.stalledCounter - 1),
  };
}

/** Only of a task's first attempt it is known: a job does not say when it was put off, nor a dispatch anew when that was. */
function dueOnRedis(job: Job<JobData>, createdAt: number): number | undefined {
  const { failures, begun } = job.data;
  const isFirst = job.attemptsStarted === 1 && failures === undefined && begun === undefined && taskOf(job.id!).generation === 0;
  if (!isFirst) return undefined;
  return job.opts.delay ? job.timestamp + job.opts.delay : createdAt;
}
