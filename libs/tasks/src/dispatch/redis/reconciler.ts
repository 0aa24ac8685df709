import { Injectable } from '@nestjs/common';
import type { Queue } from 'bullmq';
import { answered } from './answered.js';
import { type JobData, jobIdOf, taskOf } from '../job.js';
import { DatabaseClock } from '../../ledger/database-clock.js';
import { Election } from '../../ledger/election.js';
import { type DispatchedTask, Ledger } from '../../ledger/ledger.js';
import { Loop } from '../../loop.js';
import { TaskLogger } from '../../task-logger.js';
import { isOutOfMemory } from './connection.js';
import { TaskQueues } from './queues.js';
import { RedisControl } from './redis-control.js';

/** Milliseconds. */
const INTERVAL = 5_000;
const MIN_AGE = 15_000;
const ASK_DEADLINE = 10_000;
/** How long it waits at most for every worker to show what it runs: one may be blocked. Milliseconds. */
const PATIENCE = 10_000;
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
/** What it says while tasks are left to the workers that run them: whoever is elected next does not know which. */
const LEFT = '0';

/** When it was found that a queue has lost something, by the database's clock: for the first time, and last. */
interface Loss {
  first: number;
  last: number;
}

/**
 * Finds tasks that the ledger has dispatched and BullMQ no longer knows, or knows and
 * will not run, and has them dispatched anew: after a FLUSHALL, a restart without a
 * file, a failover that lost its newest writes, a list that somebody has deleted. It
 * also has BullMQ forget jobs that have ended. One process of all does it.
 */
@Injectable()
export class Reconciler {
  private readonly loop = new Loop(
    () => this.reconcile(),
    INTERVAL,
    (error) => this.logger.trouble('reconciler', error),
  );
  /** The queues that have lost something, and are still to be searched. */
  private readonly suspects = new Map<string, Loss>();
  /** What BullMQ has lost while workers were running it, by the ids of its jobs; no more than workers show. */
  private left = new Map<string, DispatchedTask>();
  private stopped = false;

  constructor(
    private readonly ledger: Ledger,
    private readonly queues: TaskQueues,
    private readonly control: RedisControl,
    private readonly election: Election,
    private readonly clock: DatabaseClock,
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
    const now = this.clock.now();
    this.suspects.set(queue, { first: this.suspects.get(queue)?.first ?? now, last: now });
    this.loop.wake();
  }

  private async reconcile(): Promise<void> {
    if (this.election.heldFor === undefined) {
      // Once elected, it judges by what is shown from then on.
      this.left.clear();
      const now = this.clock.now();
      for (const name of this.suspects.keys()) this.suspects.set(name, { first: now, last: now });
      return;
    }
    // First, because a Redis that is full refuses everything else.
    for (const queue of this.queues.all()) await this.forget(queue);
    for (const queue of this.queues.all()) {
      const marker = await answered(queue.getBackend().getQueueMetaField(MARKER), ASK_DEADLINE);
      if (marker === null || (marker === LEFT && !this.leaves(queue.name))) this.suspectAlso(queue.name);
    }
    await this.control.restorePauses();
    await this.restoreLeft();
    const sample = await this.ledger.leastVerified(MIN_AGE, SAMPLE);
    for (const { queue } of await this.lostOf(sample)) this.suspectAlso(queue);
    for (const [name, loss] of this.suspects) {
      // What a worker runs without showing it would run twice.
      const isShown = (await this.ledger.haveShown(new Date(loss.last))) || this.clock.now() > loss.first + PATIENCE;
      if (!isShown) continue;
      await this.sweep(name);
      await this.mark(name);
      if (this.suspects.get(name) === loss) this.suspects.delete(name);
    }
    for (const queue of this.queues.all()) await this.forget(queue);
    this.logger.well('reconciler');
  }

  private suspectAlso(queue: string): void {
    const now = this.clock.now();
    if (!this.suspects.has(queue)) this.suspects.set(queue, { first: now, last: now });
  }

  private leaves(queue: string): boolean {
    return [...this.left.values()].some((task) => task.queue === queue);
  }

  private async mark(queue: string): Promise<void> {
    await this.queues
      .of(queue)
      .getBackend()
      .setQueueMeta({ [MARKER]: this.leaves(queue) ? LEFT : Date.now() });
  }

  /** Dispatches those anew that were left to workers, and are neither done nor run by any of them now. */
  private async restoreLeft(): Promise<void> {
    const { left } = this;
    if (left.size === 0) return;
    this.left = new Map();
    try {
      await this.restore([...left.values()]);
    } catch (error) {
      // Redis or the database is away: they are still left.
      this.left = new Map([...left, ...this.left]);
      throw error;
    }
    // A queue that is to be swept is marked after that: it may have lost its mark once more.
    const queues = new Set([...left.values()].map((task) => task.queue));
    for (const queue of queues) if (!this.suspects.has(queue)) await this.mark(queue);
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
   * lost while a worker runs it is left to that worker, which ends it without BullMQ.
   */
  private async lostOf(tasks: readonly DispatchedTask[]): Promise<{ queue: string; lost: DispatchedTask[] }[]> {
    const found: { queue: string; lost: DispatchedTask[] }[] = [];
    for (const [queue, group] of Map.groupBy(tasks, (task) => task.queue)) {
      if (!this.queues.names.includes(queue)) continue;
      const isLive = await answered(this.ask(this.queues.of(queue), group), ASK_DEADLINE);
      const running = isLive.includes(false) ? await this.ledger.running() : new Set<string>();
      const left = group.filter(({ id }, index) => !isLive[index] && running.has(id));
      for (const task of left) this.left.set(jobIdOf({ id: task.id, generation: task.generation }), task);
      await this.ledger.recordVerified(group.filter(({ id }, index) => isLive[index] || running.has(id)));
      const lost = group.filter(({ id }, index) => !isLive[index] && !running.has(id));
      if (lost.length > 0) found.push({ queue, lost });
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
        try {
          // It would stay for ever: what is dispatched anew is another job.
          await job.remove();
          return false;
        } catch {
          // It is locked: a worker runs it.
          return true;
        }
      }),
    );
  }
}
