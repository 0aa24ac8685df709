import { faultPoint } from '@app/faults';
import type { ClaimedTask, Claims, Cursor, Release } from '../ledger/claims.js';
import type { QuarantineSlot } from './quarantine-slot.js';
import type { StartOrder, Turn } from './start-order.js';

/** Milliseconds. */
const POLL_INTERVAL = 2_000;
/** After so long the server has ended a statement whose answer was lost. */
const STATEMENT_OVER = 15_000;

/** How many tasks one statement claims at most, beside those that are asked for. */
const MAX_AHEAD = 500;
/** For how long ahead tasks are claimed, by how many were begun last. Milliseconds. */
const AHEAD = 15;
/** The part of them that is still there when more are claimed. */
const REFILL = 0.75;
/** How long a claimed task may wait until it is given back. Milliseconds; an idle process elsewhere then has it within 50. */
const HOLD = 30;
/** How often it is asked whether there is a process elsewhere, while there is none and claimed tasks wait. Milliseconds; one that comes meanwhile waits for so long. */
const HOLD_ALONE = 1_000;
/** For how long starts of other queues wait for a claim of one whose turn is before theirs. Milliseconds; less than a claimed task may wait. */
const PATIENCE = 25;
/** The same while there is no process elsewhere, which could have begun what waits. Milliseconds. */
const PATIENCE_ALONE = 250;
/** For how long nothing is claimed ahead after that. Milliseconds. */
const CALM = 200;
/** When no claim was made for so long, nothing is known any more of the rate at which tasks are begun. Milliseconds. */
const PAUSE = 100;
/** The least time between two claims while they bring something. Milliseconds. */
const GAP = 2;
/**
 * How long after a claim that began at the start of the queue the next one does so:
 * this many times what it took, so that dead entries are read for a part of the time
 * only, within these bounds. Milliseconds.
 */
const REWIND = { times: 20, least: 250, most: 5_000 };

/** What {@link QueueClaims} needs of its surroundings. */
export interface Surroundings {
  claims: Pick<Claims, 'nextNumber' | 'claim' | 'claimQuarantined' | 'isAlone' | 'nextDue' | 'undo'>;
  /** The id of this process. */
  worker: () => number;
  slot: QuarantineSlot;
  order: StartOrder;
  release: (release: Release) => Promise<void>;
}

/** A claim whose answer was lost: what it has taken is given up, now, and once more when the server cannot be at it any longer. */
interface LostAnswer {
  worker: number;
  number: number;
  undoAt: number;
  isUndone: boolean;
}

interface Asker {
  turn: Turn;
  resolve: (task: ClaimedTask | undefined | Promise<ClaimedTask | undefined>) => void;
  reject: (error: unknown) => void;
}

interface Held {
  task: ClaimedTask;
  since: number;
}

/**
 * The claims of one queue by one process: slots ask it for tasks, one by one, and
 * it claims them from the ledger in batches.
 *
 * While slots begin tasks quickly, some are claimed ahead, as many as will be begun
 * in the next {@link AHEAD} milliseconds; they wait here. What waits for longer than
 * {@link HOLD} goes back, for another process may be idle, and for a while nothing
 * is claimed ahead. So beside slow handlers nothing waits here.
 *
 * A claim begins where the last one ended, since a snapshot that somebody holds
 * keeps the entries of deleted rows alive at the start of the queue, and each claim
 * would read them all. Tasks that became visible behind that point (a transaction
 * that committed late, a task that was given back) are found by the claims that
 * begin at the start, as every one does that follows one which brought less than
 * was asked for, and by and by others ({@link REWIND}).
 */
export class QueueClaims {
  private held: Held[] = [];
  /** Tasks of slots that begin them when it is their turn. */
  private early = new Set<ClaimedTask>();
  private askers: Asker[] = [];
  private waiters: (() => void)[] = [];
  private claiming = false;
  private claimingSince = 0;
  /** What became of the tasks of the claim under way, before it has brought them: some were cancelled, or all are to go back. */
  private readonly dropped = new Set<string>();
  private isRecalled = false;
  private halted = false;
  /** Counts what may have brought something; a claim that has found nothing is told by it whether that still holds. */
  private wakes = 0;
  /** Until when there is nothing to claim, as far as is known. */
  private dryUntil = 0;
  private alarm: NodeJS.Timeout | undefined;
  private holdTimer: NodeJS.Timeout | undefined;
  private gapTimer: NodeJS.Timeout | undefined;
  private cursor: Cursor | undefined;
  /** Until when claims go on behind the cursor. */
  private rewindAt = 0;
  private claimedAt = 0;
  private brought = 0;
  private begun = 0;
  private ahead = 0;
  /** How many tasks are begun a millisecond; it falls slowly, since slots that wait for the database at the same time begin none for a moment. */
  private rate = 0;
  /** How long the last claim took. */
  private took = 0;
  private hold = HOLD;
  private calmUntil = 0;
  private lookedAtQuarantine = 0;
  private mayHoldQuarantined = true;
  private lostAnswers: LostAnswer[] = [];

  constructor(
    private readonly queue: string,
    private readonly surroundings: Surroundings,
  ) {}

  /** A task to begin now; undefined when there is none. @throws what the database says. */
  async ask(): Promise<ClaimedTask | undefined> {
    if (this.halted) return undefined;
    const { order } = this.surroundings;
    const turn = order.next();
    let end: (() => void) | undefined;
    // Not for a queue of which nothing is known: it may be empty.
    const holdUpOthers = () => {
      if (this.brought > 0) end ??= order.claims(turn, this.hold === HOLD_ALONE ? PATIENCE_ALONE : PATIENCE);
    };
    try {
      if (this.mayAskQuarantine) {
        holdUpOthers();
        const quarantined = await this.askQuarantine();
        if (quarantined) return quarantined;
      }
      if (this.held.length > 0) {
        const mayBegin = order.turn(turn);
        if (mayBegin) await mayBegin;
      }
      const next = this.held.shift();
      if (next) {
        this.begun += 1;
        if (this.held.length <= this.ahead * REFILL) this.pump();
        return next.task;
      }
      if (this.isDry || this.halted) return undefined;
      holdUpOthers();
      return await new Promise<ClaimedTask | undefined>((resolve, reject) => {
        this.askers.push({ turn, resolve, reject });
        this.pump();
      });
    } finally {
      end?.();
    }
  }

  /** Resolves when it is worth asking again. */
  wait(milliseconds: number): Promise<void> {
    if (!this.isDry || this.halted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(end, milliseconds);
      function end() {
        clearTimeout(timer);
        resolve();
      }
      this.waiters.push(end);
    });
  }

  /** Says that the queue may have something to do. */
  wake(): void {
    this.wakes += 1;
    this.dryUntil = 0;
    clearTimeout(this.alarm);
    const waiters = this.waiters;
    this.waiters = [];
    for (const end of waiters) end();
  }

  /** Says that a task may be in quarantine, or that another one may begin. */
  wakeQuarantine(): void {
    this.mayHoldQuarantined = true;
    this.wake();
  }

  /** Forgets a task that was cancelled, if it waits here or is on its way. */
  drop(id: string): void {
    this.held = this.held.filter(({ task }) => task.id !== id);
    for (const task of this.early) if (task.id === id) this.early.delete(task);
    if (this.claiming) this.dropped.add(id);
  }

  /** Gives back what has not begun, also what a claim under way brings. Resolves when the ledger has what was here. */
  async giveBack(): Promise<void> {
    this.isRecalled = this.claiming;
    const tasks = [...this.early, ...this.held.map(({ task }) => task)];
    this.early.clear();
    this.held = [];
    await this.release(tasks);
  }

  /** What was claimed is not this process's any more. */
  forget(): void {
    this.early.clear();
    this.held = [];
    this.cursor = undefined;
    this.wakeQuarantine();
  }

  /** Claims nothing more, gives back what waits here, and answers whoever waits. */
  async halt(): Promise<void> {
    this.halted = true;
    clearTimeout(this.gapTimer);
    clearTimeout(this.holdTimer);
    this.wake();
    if (!this.claiming) this.answer([]);
    await this.giveBack();
  }

  /** For how many milliseconds the claim under way has gone on; 0 when there is none. */
  get runsFor(): number {
    return this.claiming ? performance.now() - this.claimingSince : 0;
  }

  private get isDry(): boolean {
    return performance.now() < this.dryUntil;
  }

  private get mayAskQuarantine(): boolean {
    return this.surroundings.slot.isFree && (this.mayHoldQuarantined || performance.now() - this.lookedAtQuarantine > POLL_INTERVAL);
  }

  private async askQuarantine(): Promise<ClaimedTask | undefined> {
    const { slot, claims, worker } = this.surroundings;
    slot.take();
    this.lookedAtQuarantine = performance.now();
    this.mayHoldQuarantined = false;
    const claim = { worker: worker(), number: claims.nextNumber() };
    let task: ClaimedTask | undefined;
    try {
      await this.undoLost();
      task = await claims.claimQuarantined(this.queue, claim.worker, claim.number);
    } catch (error) {
      this.lostAnswers.push({ ...claim, undoAt: 0, isUndone: false });
      this.mayHoldQuarantined = true;
      throw error;
    } finally {
      if (!task) slot.giveBack();
    }
    if (!task || !this.halted) return task;
    await this.surroundings.release({ task });
    slot.free();
    return undefined;
  }

  /** Begins a claim, unless one is under way, or was so a moment ago. */
  private pump(): void {
    if (this.claiming || this.halted) return;
    const rest = this.brought > 0 ? this.claimedAt + GAP - performance.now() : 0;
    if (rest > 0) {
      this.gapTimer ??= setTimeout(() => {
        this.gapTimer = undefined;
        this.pump();
      }, rest);
      return;
    }
    if (this.isDry && this.askers.length === 0) return;
    this.claiming = true;
    this.claimingSince = performance.now();
    this.isRecalled = false;
    this.dropped.clear();
    this.claim()
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.claiming = false;
        // Who has asked while it gave back what it had brought is told of the end here: halt() leaves that to a claim under way.
        if (this.halted) this.answer([]);
        else if (this.askers.length > 0) this.pump();
      });
  }

  private async claim(): Promise<void> {
    const { claims, worker } = this.surroundings;
    await this.undoLost();
    const now = performance.now();
    this.ahead = this.countAhead(now);
    const isRewound = this.cursor === undefined || now >= this.rewindAt;
    const size = Math.max(1, this.askers.length + this.ahead - this.held.length);
    const { wakes } = this;
    const claim = { worker: worker(), number: claims.nextNumber() };
    let batch: Awaited<ReturnType<Claims['claim']>>;
    try {
      batch = await claims.claim(this.queue, claim.worker, claim.number, size, isRewound ? undefined : this.cursor);
    } catch (error) {
      this.lostAnswers.push({ ...claim, undoAt: 0, isUndone: false });
      throw error;
    } finally {
      this.took = performance.now() - now;
      // Also after one that has failed: it may be the dead entries that take longer than a statement may, and the tasks behind them can run.
      if (isRewound) this.rewindAt = performance.now() + Math.min(REWIND.most, Math.max(REWIND.least, REWIND.times * this.took));
    }
    await faultPoint('claims.after-claim');
    this.brought = batch.tasks.length;
    this.hold = batch.alone ? HOLD_ALONE : HOLD;
    this.cursor = batch.cursor ?? this.cursor;
    if (batch.lost > 0) this.wakeQuarantine();
    // Taken for dead meanwhile, this process has another id, and what it claimed under the old one is void.
    this.answer(claim.worker === worker() ? batch.tasks.filter(({ id }) => !this.dropped.has(id)) : []);
    if (this.isRecalled) await this.giveBack();
    if (this.held.length > 0) await faultPoint('claims.in-buffer');
    if (batch.tasks.length + batch.lost === size) return;
    // Fewer than asked for. Behind the cursor there may be more; if that was looked at, the queue is empty.
    if (!isRewound) this.cursor = undefined;
    else if (wakes === this.wakes) await this.runDry(wakes);
  }

  /** Hands tasks to those that ask, and keeps the rest; those that are left are told that there is none once the queue is known to be empty. */
  private answer(tasks: ClaimedTask[]): void {
    if (this.halted) {
      for (const task of tasks) void this.surroundings.release({ task });
      for (const { resolve } of this.askers.splice(0)) resolve(undefined);
      return;
    }
    const taken = this.askers.splice(0, tasks.length);
    this.begun += taken.length;
    const since = performance.now();
    for (const task of tasks.slice(taken.length)) this.held.push({ task, since });
    const starts = taken.map(({ turn, resolve }, index) => {
      const task = tasks[index]!;
      this.early.add(task);
      // Cancelled or given back before it was its turn: there may be another one.
      return { ...turn, begin: () => resolve(this.early.delete(task) ? task : this.ask()) };
    });
    this.surroundings.order.answered(starts);
    if (this.held.length > 0) this.watchHeld();
  }

  private async runDry(wakes: number): Promise<void> {
    this.cursor = undefined;
    this.ahead = 0;
    for (const { resolve } of this.askers.splice(0)) resolve(undefined);
    const due = await this.surroundings.claims.nextDue(this.queue);
    if (wakes !== this.wakes || this.halted) return;
    // A millisecond later than said, since a timer may be early.
    const rest = Math.min(POLL_INTERVAL, (due ?? POLL_INTERVAL) + 1);
    this.dryUntil = performance.now() + rest;
    this.alarm = setTimeout(() => this.wake(), rest).unref();
  }

  private async release(tasks: readonly ClaimedTask[]): Promise<void> {
    await Promise.all(tasks.map((task) => this.surroundings.release({ task })));
  }

  private fail(error: unknown): void {
    for (const { reject } of this.askers.splice(0)) reject(error);
  }

  /**
   * How many are to be claimed ahead: as many as will be begun until the next claim
   * has brought its tasks, by the rate at which they are begun. Beside other workers
   * it at most doubles with each claim, for slots that were idle begin a task each at
   * once, and then for a while none. After a pause, in which nothing was learned, it
   * is as if each who asks would do so twice more.
   */
  private countAhead(now: number): number {
    const elapsed = now - this.claimedAt;
    const isCalm = now < this.calmUntil;
    this.rate = isCalm || elapsed > PAUSE ? 0 : Math.max(this.begun / Math.max(elapsed, GAP), this.rate * 0.7);
    this.claimedAt = now;
    this.begun = 0;
    if (isCalm) return 0;
    const first = 2 * this.askers.length;
    if (this.rate === 0) return first;
    const most = this.hold === HOLD_ALONE ? MAX_AHEAD : Math.max(first, 2 * this.ahead);
    return Math.min(MAX_AHEAD, most, Math.floor(this.rate * (AHEAD + 2 * this.took)));
  }

  /** Gives everything back once the oldest has waited for too long, if somebody else could begin it. */
  private watchHeld(): void {
    const [oldest] = this.held;
    if (!oldest || this.holdTimer) return;
    const end = () =>
      void this.endHold().finally(() => {
        this.holdTimer = undefined;
        this.watchHeld();
      });
    this.holdTimer = setTimeout(end, Math.max(0, oldest.since + this.hold - performance.now()));
  }

  private async endHold(): Promise<void> {
    const isOver = () => !this.halted && this.held.length > 0 && performance.now() >= this.held[0]!.since + this.hold;
    if (!isOver()) return;
    // Where nobody can be asked, somebody may be there.
    if (this.hold === HOLD_ALONE && (await this.surroundings.claims.isAlone().catch(() => false))) {
      const since = performance.now();
      this.held = this.held.map(({ task }) => ({ task, since }));
    } else if (isOver()) {
      this.calmUntil = performance.now() + CALM;
      this.ahead = 0;
      await this.release(this.held.splice(0).map(({ task }) => task));
    }
  }

  private async undoLost(): Promise<void> {
    for (const lost of this.lostAnswers) {
      const now = performance.now();
      if (lost.undoAt > now) continue;
      await this.surroundings.claims.undo(this.queue, lost.worker, lost.number);
      if (lost.isUndone) this.lostAnswers = this.lostAnswers.filter((other) => other !== lost);
      lost.isUndone = true;
      lost.undoAt = now + STATEMENT_OVER;
    }
  }
}
