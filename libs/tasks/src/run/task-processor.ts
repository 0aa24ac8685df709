import { setTimeout as wait } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { faultPoint } from '@app/faults';
import type { Job } from 'bullmq';
import { v4 as uuidv4 } from 'uuid';
import { endsWithin } from '../ends-within.js';
import type { Dispatcher } from '../dispatch/dispatcher.js';
import type { JobData } from '../dispatch/job.js';
import { QueueProcessor } from './queue-processor.js';
import { TaskRunner } from './runner.js';
import { TaskLogger } from '../task-logger.js';
import type { TaskWorker } from './task-worker.js';
import { WeightedPicker } from './weighted-picker.js';

/** The processors by the names of their queues. */
export const QUEUE_PROCESSORS = Symbol('waybill.queue-processors');

/** Pause after a fetch that failed. Milliseconds. */
const RETRY_INTERVAL = 500;

/** How often an empty queue is looked at while every slot is taken. Milliseconds. */
const LOOK_INTERVAL = 50;

/** How long giving a job back may take, and a fetch that is under way when the process is told to end: some round trips. Milliseconds. */
const RETURN_TIMEOUT = 2_000;

/**
 * Runs the tasks of all queues in one pool of slots, shared by weight.
 *
 * A slot asks the {@link WeightedPicker} which queue is next, takes a job from it
 * and runs it; when the job ends and the same queue is next again, finishing and
 * fetching are one round trip. An empty queue is waited on by one blocking read,
 * as long as a slot is free for what it brings; while none is, the slots that
 * free look at it every now and then.
 */
@Injectable()
export class TaskProcessor {
  private readonly workers = new Map<string, TaskWorker>();
  private readonly watched = new Set<string>();
  /** The work of the slots that have a job. */
  private readonly working = new Set<Promise<void>>();
  /** The queue of the last fetch, if that failed. */
  failing: string | undefined;
  private readonly picker: WeightedPicker;
  /** How many tasks neither ended nor could be given back when it was stopped, because the dispatcher or the database did not answer: they run again. */
  leftBehind = 0;
  private readonly token = uuidv4();
  private fetches = 0;
  /** The tokens of the slots that have a job, and of the fetches under way. */
  private readonly tokens = new Set<string>();
  private dispatcher: Pick<Dispatcher, 'mayFetch'> | undefined;
  private stopping = false;

  constructor(
    private readonly options: EngineOptions,
    @Inject(QUEUE_PROCESSORS) private readonly processors: ReadonlyMap<string, QueueProcessor>,
    private readonly runner: TaskRunner,
    private readonly logger: TaskLogger,
  ) {
    this.picker = new WeightedPicker(options.weights, options.concurrency);
  }

  /**
   * Begins to run tasks; the workers must exist.
   *
   * @param dispatcher.mayFetch whether tasks may be taken at the moment; {@link resume} says that they may again.
   * @param dispatcher.claimant the name under which they are taken.
   * @param dispatcher.regained called with a queue whose dispatcher was away and is back.
   */
  start(dispatcher: Pick<Dispatcher, 'mayFetch' | 'regained' | 'claimant'>): void {
    this.dispatcher = dispatcher;
    for (const { worker } of this.processors.values()) {
      this.workers.set(worker.name, worker);
      worker.onAnswer = () => {
        if (this.logger.well(worker.name)) dispatcher.regained(worker.name);
      };
      worker.claimant = () => dispatcher.claimant;
      worker.mayFetch = () => dispatcher.mayFetch();
      worker.begin().catch((error: unknown) => this.logger.failed('the search for stalled tasks did not start', error));
    }
    this.fill();
  }

  /** Whether a slot holds, or waits for, the job that is fetched under a token; true for other processes' tokens. */
  isHeld(token: string): boolean {
    return this.tokens.has(token) || !token.startsWith(`${this.token}:`);
  }

  /** Whether tasks are taken: the start is over, and no end has begun. */
  get isOpen(): boolean {
    return this.dispatcher !== undefined && !this.stopping;
  }

  /** How many slots have a task. */
  get running(): number {
    return this.working.size;
  }

  /** Tasks may be taken again. */
  resume(): void {
    this.fill();
  }

  /** Takes no more tasks, from now on. */
  halt(): void {
    if (this.stopping) return;
    this.stopping = true;
    for (const worker of this.workers.values()) worker.halt();
    this.logger.stopping(this.working.size);
  }

  /**
   * Takes no more tasks, lets the running ones finish, tells those that are left
   * at the timeout to stop, and gives them back to the front of their queues.
   */
  async stop(): Promise<void> {
    this.halt();
    await faultPoint('worker.during-shutdown');
    const drained = this.drain();
    await endsWithin(this.options.shutdownTimeout, drained);
    this.runner.interruptAll('shutdown');
    await endsWithin(RETURN_TIMEOUT, drained);
    this.leftBehind = this.working.size + this.runner.unrecorded;
    await Promise.all([...this.workers.values()].map((worker) => worker.close(true)));
    this.logger.stopped(this.leftBehind);
  }

  private async drain(): Promise<void> {
    await endsWithin(RETURN_TIMEOUT, Promise.all([...this.workers.values()].map((worker) => worker.fetched())));
    // What they brought is on its way through BullMQ to the slot that fetched it.
    await new Promise(setImmediate);
    while (this.working.size > 0) await Promise.allSettled(this.working);
    await this.runner.recorded();
  }

  /** Starts as many slots as there is work for, and watches the queues that are empty. */
  private fill(): void {
    while (this.mayTake) {
      const queue = this.picker.start();
      if (queue === undefined) break;
      this.occupy(queue, this.serve(queue));
    }
    for (const queue of this.workers.keys()) this.watch(queue);
  }

  private occupy(queue: string, work: Promise<void>): void {
    work.catch((error: unknown) => this.logger.trouble(queue, error)).finally(() => this.fill());
  }

  /** One slot's turn at a queue: a job, and those that follow it for as long as the queue remains next. */
  private serve(queue: string): Promise<void> {
    const token = this.newToken();
    return this.serveUnder(token, queue).finally(() => this.tokens.delete(token));
  }

  private async serveUnder(token: string, queue: string): Promise<void> {
    let job: Job<JobData> | undefined;
    try {
      job = await this.fetch(queue, token, false);
    } catch (error) {
      this.logger.trouble(queue, error);
      await wait(RETRY_INTERVAL);
    }
    if (!job) return this.picker.foundEmpty(queue);
    if (this.stopping) return this.work(job.moveToWait(token));
    if (this.picker.found(queue)) this.fill();
    await this.process(queue, job, token);
  }

  /** Runs a job for which the picker has given a slot, and then those that follow. */
  private process(queue: string, first: Job<JobData>, token: string): Promise<void> {
    return this.work(this.runFrom(queue, first, token));
  }

  /** Has a shutdown wait for it. */
  private async work(work: Promise<unknown>): Promise<void> {
    const settled = work.then(() => undefined);
    this.working.add(settled);
    await settled.finally(() => this.working.delete(settled));
  }

  private async runFrom(queue: string, first: Job<JobData>, token: string): Promise<void> {
    let job: Job<JobData> | undefined = first;
    while (job) {
      // Fetched together with the end of the one before, in the moment in which the process was told to end.
      if (this.stopping && job !== first) return void (await job.moveToWait(token));
      let hasSlot = true;
      let another: boolean | undefined;
      // Asked when the job ends; BullMQ asks again when telling it failed the first time.
      const fetchNext = () => {
        if (another === undefined) {
          const { mayTake } = this;
          another = mayTake && this.picker.finishAndContinue(queue);
          hasSlot = another || !mayTake;
          // The handler has ended: the slot's next queue is asked while BullMQ is still told of this job's end.
          if (!hasSlot) this.fill();
        }
        return another;
      };
      try {
        job = (await this.workerOf(queue).processJob(job, token, fetchNext)) ?? undefined;
      } catch (error) {
        this.logger.trouble(queue, error);
        job = undefined;
      }
      if (!job && hasSlot) {
        if (another) this.picker.foundEmpty(queue);
        else this.picker.finish(queue);
      }
    }
  }

  /** Waits for an empty queue, in one place for all slots; a job that arrives takes a slot, or goes back when there is none. */
  private watch(queue: string): void {
    if (!this.mayTake || this.watched.has(queue) || !this.picker.isEmpty(queue)) return;
    this.watched.add(queue);
    if (!this.picker.hasRoom(queue)) return this.lookLater(queue);
    const token = this.newToken();
    const release = () => void this.tokens.delete(token);
    this.fetch(queue, token, true)
      .then(async (job: Job<JobData> | undefined) => {
        this.watched.delete(queue);
        if (!job) return release();
        if (!this.stopping && this.picker.startArrived(queue)) return this.occupy(queue, this.process(queue, job, token).finally(release));
        // Every slot is taken meanwhile: another process may be free for it.
        await this.work(job.moveToWait(token)).finally(release);
      })
      .catch(async (error: unknown) => {
        this.watched.delete(queue);
        release();
        this.logger.trouble(queue, error);
        await wait(RETRY_INTERVAL, undefined, { ref: false });
      })
      .finally(() => this.fill());
  }

  /**
   * Has the next slot that frees look at an empty queue. While every slot is
   * taken nobody waits for it, and a queue whose backlog never ends would else
   * keep the slots to itself.
   */
  private lookLater(queue: string): void {
    setTimeout(() => {
      this.watched.delete(queue);
      if (this.stopping) return;
      this.picker.wake(queue);
      this.fill();
    }, LOOK_INTERVAL).unref();
  }

  private async fetch(queue: string, token: string, block: boolean): Promise<Job<JobData> | undefined> {
    try {
      const job: Job<JobData> | undefined = await this.workerOf(queue).getNextJob(token, { block });
      this.failing = undefined;
      return job;
    } catch (error) {
      this.failing = queue;
      throw error;
    }
  }

  private get mayTake(): boolean {
    return !this.stopping && this.dispatcher?.mayFetch() === true;
  }

  private workerOf(queue: string): TaskWorker {
    return this.workers.get(queue)!;
  }

  private newToken(): string {
    const token = `${this.token}:${this.fetches++}`;
    this.tokens.add(token);
    return token;
  }
}
