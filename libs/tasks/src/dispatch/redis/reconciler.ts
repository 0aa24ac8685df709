import { Injectable } from '@nestjs/common';
import type { Queue } from 'bullmq';
import { answered } from './answered.js';
import { type JobData, jobIdOf, taskOf } from '../job.js';
import { Election } from '../../ledger/election.js';
import { type DispatchedTask, Ledger } from '../../ledger/ledger.js';
import { RENEWAL_INTERVAL } from '../../ledger/worker-lease.js';
import { Loop } from '../../loop.js';
import { TaskLogger } from '../../task-logger.js';
import { isOutOfMemory } from './connection.js';
import { TaskQueues } from './queues.js';
import { RedisControl } from './redis-control.js';

/** Milliseconds. */
const INTERVAL = 5_000;
const MIN_AGE = 15_000;
const ASK_DEADLINE = 10_000;
/** How long after a loss was found what was lost is dispatched anew: by then every worker shows what it was running. Milliseconds. */
const SHOWN_WITHIN = RENEWAL_INTERVAL + 1_000;
/** How many tasks are asked for in every turn, in case that single ones were lost. */
const SAMPLE = 100;
const PAGE = 500;
/** Up to how many waiting jobs of a queue each of those asked for is searched among them. */
const MAX_SEARCHED = 10_000;

/** How long BullMQ remembers jobs that have ended, in milliseconds: until then, adding one again does nothing. The ledger keeps the buried tasks. */
const MEMORY = { completed: 60_000, failed: 3_600_000 } as const;
/** How many of a queue and state it may remember, on Redis: some 100 MB. */
const MAX_REMEMBERED = 100_000;
/** How many are forgotten at a time, for which Redis does nothing else. */
const FORGET = 500;

/** A field of a queue's metadata in BullMQ: when it is gone, so may be every task. */
const MARKER = 'waybill';

/**
 * Finds tasks that the ledger has dispatched and BullMQ no longer knows, or knows and
 * will not run, and has them dispatched anew: after a FLUSHALL, a restart without a
 * file, a failover that lost its newest writes, a list that somebody has deleted. It also has BullMQ forget jobs that have ended. One
 * process of all does it.
 */
@Injectable()
export class Reconciler {
  private readonly loop = new Loop(
    () => this.reconcile(),
    INTERVAL,
    (error) => this.logger.trouble('reconciler', error),
  );
  /** Queues that have lost something, by when that was found. */
  private readonly suspects = new Map<string, number>();
  private stopped = false;

  constructor(
    private readonly ledger: Ledger,
    private readonly queues: TaskQueues,
    private readonly control: RedisControl,
    private readonly election: Election,
    private readonly logger: TaskLogger,
  ) {}

  start(): void {
    this.loop.start();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.loop.stop();
  }

  /** Has every task of a queue looked for: its dispatcher was away, and may have come back with less. */
  suspect(queue: string): void {
    this.suspects.set(queue, performance.now());
    this.loop.wake();
  }

  private async reconcile(): Promise<void> {
    if (this.election.heldFor === undefined) return;
    // First, because a Redis that is full refuses everything else.
    for (const queue of this.queues.all()) await this.forget(queue);
    for (const queue of this.queues.all()) {
      const marker = await answered(queue.getBackend().getQueueMetaField(MARKER), ASK_DEADLINE);
      if (marker === null) this.suspectAlso(queue.name);
    }
    await this.control.restorePauses();
    const sample = await this.ledger.leastVerified(MIN_AGE, SAMPLE);
    for (const { queue } of await this.lostOf(sample)) this.suspectAlso(queue);
    for (const [name, since] of this.suspects) {
      if (performance.now() - since < SHOWN_WITHIN) continue;
      await this.sweep(name);
      await this.queues
        .of(name)
        .getBackend()
        .setQueueMeta({ [MARKER]: Date.now() });
      if (this.suspects.get(name) === since) this.suspects.delete(name);
    }
    for (const queue of this.queues.all()) await this.forget(queue);
    this.logger.well('reconciler');
  }

  private suspectAlso(queue: string): void {
    if (!this.suspects.has(queue)) this.suspects.set(queue, performance.now());
  }

  /**
   * Has BullMQ forget old jobs, and the oldest of more than it may remember. It
   * would do so itself at the end of every job (`removeOnComplete`), which costs
   * each of them a search.
   *
   * A Redis that is full would refuse every task for as long as it remembers those
   * that have ended: it is made to forget them all. When there are none it is full
   * of what waits, and the newest of that go back to the ledger: to fetch a job needs
   * memory too.
   */
  private async forget(queue: Queue<JobData>): Promise<void> {
    const counts = await answered(queue.getJobCounts('completed', 'failed'), ASK_DEADLINE);
    let isFull = false;
    let forgotten = 0;
    for (const state of ['completed', 'failed'] as const) {
      const excess = (counts[state] ?? 0) - MAX_REMEMBERED;
      if (excess > 0) await this.clean(queue, state, 0, excess);
      try {
        await this.clean(queue, state, MEMORY[state]);
      } catch (error) {
        // Said when none was old enough: what has deleted something may write, and nothing else may.
        if (!isOutOfMemory(error)) throw error;
        isFull = true;
        if ((counts[state] ?? 0) > 0) forgotten += await this.clean(queue, state, 0);
      }
    }
    if (isFull && forgotten === 0) await this.takeBack(queue);
  }

  /** Has BullMQ forget jobs that ended at least so many milliseconds ago, the oldest first. @returns how many. */
  private async clean(
    queue: Queue<JobData>,
    state: 'completed' | 'failed',
    age: number,
    count = Number.POSITIVE_INFINITY,
  ): Promise<number> {
    let total = 0;
    let forgotten: string[];
    do {
      forgotten = await answered(queue.clean(age, Math.min(FORGET, count - total), state), ASK_DEADLINE);
      total += forgotten.length;
    } while (forgotten.length === FORGET && total < count && !this.stopped);
    return total;
  }

  /** Takes the newest tasks that wait out of BullMQ; the relay puts them in again once there is room. */
  private async takeBack(queue: Queue<JobData>): Promise<void> {
    const jobs = await answered(queue.getJobs(['wait', 'delayed'], 0, FORGET - 1, false), ASK_DEADLINE);
    // One that has begun meanwhile stays.
    const removals = await answered(Promise.allSettled(jobs.map((job) => job.remove())), ASK_DEADLINE);
    const taken = jobs.filter((_, index) => removals[index]?.status === 'fulfilled');
    if (taken.length === 0) return;
    const tasks = taken.map((job) => ({ ...taskOf(job.id!), queue: queue.name }));
    this.logger.takenBack(queue.name, await this.ledger.dispatchAnew(tasks, 'taken back from a dispatcher that is full'));
  }

  private async sweep(queue: string): Promise<void> {
    const before = new Date();
    let page: DispatchedTask[];
    let after: string | undefined;
    do {
      page = await this.ledger.dispatchedPage(queue, before, after, PAGE);
      await this.restore(page);
      after = page.at(-1)?.id;
    } while (page.length === PAGE && !this.stopped);
  }

  private async restore(tasks: readonly DispatchedTask[]): Promise<void> {
    for (const { queue, lost } of await this.lostOf(tasks)) {
      const count = await this.ledger.dispatchAnew(lost);
      if (count > 0) this.logger.redispatched(queue, count);
    }
  }

  /**
   * Which of these tasks nobody is going to run, by their queues. One that BullMQ has
   * lost while a worker runs it is that worker's: it ends without BullMQ.
   */
  private async lostOf(tasks: readonly DispatchedTask[]): Promise<{ queue: string; lost: DispatchedTask[] }[]> {
    const found: { queue: string; lost: DispatchedTask[] }[] = [];
    for (const [queue, group] of Map.groupBy(tasks, (task) => task.queue)) {
      if (!this.queues.names.includes(queue)) continue;
      const isLive = await answered(this.ask(this.queues.of(queue), group), ASK_DEADLINE);
      await this.ledger.recordVerified(group.filter((_, index) => isLive[index]));
      const unknown = group.filter((_, index) => !isLive[index]);
      if (unknown.length === 0) continue;
      const running = await this.ledger.running();
      // Asked about in the next turn again: its worker may crash.
      const left = unknown.filter(({ id }) => running.has(id));
      await this.ledger.recordVerified(left, MIN_AGE - INTERVAL);
      if (left.length < unknown.length) found.push({ queue, lost: unknown.filter(({ id }) => !running.has(id)) });
    }
    return found;
  }

  /**
   * Whether BullMQ is going to run each job: it knows it, has not finished it, and
   * has it in one of its lists. The last is asked while few wait: to tell it, Redis
   * searches a list from one end to the other, which stops it for a second when a
   * million tasks wait. Where a list is gone and the jobs were kept, few do.
   */
  private async ask(queue: Queue<JobData>, tasks: readonly DispatchedTask[]): Promise<boolean[]> {
    const jobs = await Promise.all(tasks.map((task) => queue.getJob(jobIdOf({ id: task.id, generation: task.generation }))));
    const { waiting = 0 } = await queue.getJobCounts('waiting');
    const isSearchable = waiting <= MAX_SEARCHED;
    return Promise.all(
      jobs.map(async (job) => {
        if (job === undefined || job.finishedOn !== undefined) return false;
        if (!isSearchable || (await job.getState()) !== 'unknown') return true;
        // It would stay for ever: what is dispatched anew is another job.
        await job.remove();
        return false;
      }),
    );
  }
}
