import { Injectable, type Type } from '@nestjs/common';
import { OnWorkerEvent, Processor, WorkerHost } from '@nestjs/bullmq';
import { faultPoint } from '@app/faults';
import { DelayedError, Job, UnrecoverableError, WaitingError } from 'bullmq';
import { FailedTaskListener } from './failed-task.listener.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import type { AttemptFailure, Delivery } from '../dispatch/delivery.js';
import { deliveryOf, type JobData, taskOf } from '../dispatch/job.js';
import { TaskLogger } from '../task-logger.js';
import { AttemptTelemetry } from '../telemetry/attempts.js';
import { ClaimTelemetry } from '../telemetry/claims.js';
import { QuarantineSlot } from '../dispatch/quarantine-slot.js';
import { TaskRunner } from './runner.js';
import { Statistics } from './statistics.js';
import { TaskWorker } from './task-worker.js';

/**
 * Milliseconds. The locks of a worker that is lost are taken away ({@link LostWorkers}), and the next search finds its
 * tasks; they run out only where nobody could do that, later than a silent worker is taken for dead.
 */
const LOCK_DURATION = 150_000;
const LOCK_RENEW_TIME = 7_500;
const STALLED_INTERVAL = 3_000;

/** How long a task in quarantine waits at least for another one to end, and at most. Milliseconds. */
const QUARANTINE_DELAY = [500, 1_000] as const;

/** Seconds that a wait for an empty queue may block. */
const BLOCK = 5;

const workerOptions = {
  autorun: false,
  lockDuration: LOCK_DURATION,
  // Often, to learn soon of a lock that is gone: another worker may be given the job.
  lockRenewTime: LOCK_RENEW_TIME,
  stalledInterval: STALLED_INTERVAL,
  drainDelay: BLOCK,
  runRetryDelay: 1_000,
  // Crashes have a budget of their own, kept in the ledger, where the burial is written.
  maxStalledCount: 2 ** 31 - 1,
  settings: { backoffStrategy: (_made: number, _type?: string, error?: Error) => (error instanceof FailedAttempt ? error.toldDelay : 0) },
};

/** What BullMQ stores of a failed attempt: words of the error's description, which are bounded and without secrets. */
class FailedAttempt extends Error {
  constructor(
    readonly failure: AttemptFailure,
    readonly delay: number,
    /** The same as BullMQ is to be told it. */
    readonly toldDelay: number,
  ) {
    super(failure.error.message);
    this.stack = failure.error.stack;
  }
}

/** The same for the last attempt: BullMQ must not retry it. */
class BuriedAttempt extends UnrecoverableError {
  constructor(readonly failure: AttemptFailure) {
    super(failure.error.message);
    this.stack = failure.error.stack;
  }
}

/** Translates between one BullMQ queue and the {@link TaskRunner}: a job into a delivery, an outcome into what BullMQ does. */
@Injectable()
export abstract class QueueProcessor extends WorkerHost<TaskWorker> {
  constructor(
    private readonly runner: TaskRunner,
    private readonly failedTaskListener: FailedTaskListener,
    private readonly taskLogger: TaskLogger,
    private readonly clock: DatabaseClock,
    private readonly slot: QuarantineSlot,
    private readonly statistics: Statistics,
    private readonly telemetry: AttemptTelemetry,
    private readonly claims: ClaimTelemetry,
  ) {
    super();
  }

  override async process(job: Job<JobData>, token?: string): Promise<{ moot: string } | undefined> {
    const delivery = deliveryOf(job);
    // On the ledger the slot is taken with the claim.
    const isToTakeSlot = delivery.quarantined && delivery.claimedBy === undefined;
    if (!isToTakeSlot) return this.run(job, delivery, token);
    if (!this.slot.isFree) {
      const [least, most] = QUARANTINE_DELAY;
      await this.putOff(job, least + Math.random() * (most - least), token);
    }
    this.slot.take();
    try {
      return await this.run(job, delivery, token);
    } finally {
      this.slot.free();
    }
  }

  private async run(job: Job<JobData>, delivery: Delivery, token: string | undefined): Promise<{ moot: string } | undefined> {
    await faultPoint('worker.after-fetch');
    const ended = this.statistics.begin(delivery);
    const outcome = await this.telemetry.run(delivery, () => this.runner.run(delivery));
    ended(outcome);
    switch (outcome.kind) {
      case 'completed':
        return outcome.moot === undefined ? undefined : { moot: outcome.moot };
      case 'retry':
        throw new FailedAttempt(outcome.failure, outcome.delay, this.corrected(delivery, outcome.delay));
      case 'buried':
        throw new BuriedAttempt(outcome.failure);
      case 'snooze':
        if (!outcome.routine) this.taskLogger.snoozed(delivery, outcome.reason, outcome.delay);
        return this.putOff(job, this.corrected(delivery, outcome.delay), token);
      case 'returned':
        await this.worker.insist(() => job.moveToWait(token));
        throw new WaitingError();
      case 'lost':
        // Neither completed nor failed is ours to say any more.
        throw new WaitingError();
    }
  }

  /** @throws DelayedError which tells BullMQ so. */
  private async putOff(job: Job<JobData>, delay: number, token: string | undefined): Promise<never> {
    await this.worker.insist(() => job.moveToDelayed(Date.now() + delay, token));
    throw new DelayedError();
  }

  /** On Redis, BullMQ adds it to what this machine's clock says, which may have gone wrong while the task ran. */
  private corrected({ claimedBy }: Delivery, delay: number): number {
    return delay === 0 || claimedBy !== undefined ? delay : Math.max(1, delay - this.clock.skew);
  }

  @OnWorkerEvent('completed')
  onCompleted(job: Job<JobData>): void {
    const moot = (job.returnvalue as { moot: string } | null | undefined)?.moot;
    const durationMs = (job.finishedOn ?? Date.now()) - (job.processedOn ?? Date.now());
    const delivery = deliveryOf(job);
    // BullMQ has counted this attempt already.
    this.taskLogger.completed(delivery, delivery.failures, durationMs, moot);
  }

  @OnWorkerEvent('failed')
  onFailed(job: Job<JobData> | undefined, error: Error): void {
    if (job && (error instanceof FailedAttempt || error instanceof BuriedAttempt)) {
      this.failedTaskListener.onFailed(deliveryOf(job), error.failure, error instanceof FailedAttempt ? error.delay : undefined);
    }
  }

  @OnWorkerEvent('stalled')
  onStalled(jobId: string): void {
    this.taskLogger.stalled(this.worker.name, taskOf(jobId).id);
    this.claims.crashed(this.worker.name);
  }

  @OnWorkerEvent('lockRenewalFailed')
  async onLockRenewalFailed(jobIds: string[]): Promise<void> {
    // Those that run now: a job may be fetched anew while Redis is asked.
    const attempts = jobIds.map((jobId) => ({ jobId, attempt: this.runner.attemptOf(taskOf(jobId)) }));
    for (const { jobId, attempt } of attempts) {
      try {
        // A job that Redis has lost is nobody's: its task is left to this worker while that shows that it runs it.
        if (attempt && (await Job.fromId(this.worker, jobId))) attempt.interrupt('lock lost');
      } catch (error) {
        // Whatever Redis says: the next renewal tells.
        this.taskLogger.trouble(this.worker.name, error);
      }
    }
  }

  @OnWorkerEvent('error')
  onError(error: Error): void {
    this.taskLogger.trouble(this.worker.name, error);
  }
}

@Processor('critical', workerOptions)
export class CriticalProcessor extends QueueProcessor {}

@Processor('default', workerOptions)
export class DefaultProcessor extends QueueProcessor {}

/** The processor of a queue; one that has no class of its own gets one. */
export function processorOf(queue: string): Type<QueueProcessor> {
  if (queue === 'critical') return CriticalProcessor;
  if (queue === 'default') return DefaultProcessor;
  @Processor(queue, workerOptions)
  class ConfiguredProcessor extends QueueProcessor {}
  return ConfiguredProcessor;
}
