import type { QueueWeights } from '../options.js';

/**
 * `empty`: nothing to do. `waking`: may have something, nobody has looked yet.
 * `asked`: one slot is looking; more would look in vain if it is a single task.
 * `ready`: has something to do.
 */
type Supply = 'empty' | 'waking' | 'asked' | 'ready';

interface QueueState {
  readonly name: string;
  readonly weight: number;
  readonly min: number;
  /** How much of its share the queue has used: each start adds 1/weight. */
  time: number;
  running: number;
  supply: Supply;
}

/**
 * How many starts a queue may be ahead of another one and still keep a slot that
 * it has: to go on with the same queue is one round trip, to change is two.
 */
const STAY = 1;

/**
 * Decides which queue the next free slot serves.
 *
 * Stride scheduling (Waldspurger and Weihl, 1995): every start moves a queue's
 * virtual time on by 1/weight, and the ready queue with the smallest time goes
 * next, so under load the shares are exactly the weights. A slot stays with its
 * queue for as long as that is hardly ahead, so no queue is ever ahead of another
 * by more than {@link STAY} + 1 of its own starts, and slots seldom change. A
 * queue that wakes begins at the present time: having been idle earns it nothing.
 * Slots that a queue reserves (`min`) are taken by no other queue, even while they
 * are idle.
 *
 * It is pure: no clock, no queue, no promise.
 */
export class WeightedPicker {
  private readonly queues: QueueState[];
  private readonly strict: boolean;
  private running = 0;

  constructor(
    weights: QueueWeights,
    private readonly slots: number,
  ) {
    this.strict = weights.strict;
    this.queues = weights.queues.map((queue) => ({ ...queue, time: 0, running: 0, supply: 'waking' }));
  }

  /** Takes a slot for the queue that is next; undefined when no ready queue may have one. */
  start(): string | undefined {
    const queue = this.next();
    if (!queue) return undefined;
    if (queue.supply === 'waking') queue.supply = 'asked';
    this.take(queue);
    return queue.name;
  }

  /** Takes a slot for this queue out of turn, where one is free for it: for a job that has arrived already. */
  startArrived(name: string): boolean {
    const queue = this.find(name);
    this.wake(name);
    if (!this.mayStart(queue)) return false;
    this.take(queue);
    return true;
  }

  /** Says that a slot found something to do. @returns whether that is news: then more slots may look. */
  found(name: string): boolean {
    const queue = this.find(name);
    if (queue.supply === 'ready') return false;
    // What the others have started while one slot looked is not owed to it.
    queue.time = Math.max(queue.time, this.now());
    queue.supply = 'ready';
    return true;
  }

  /** Gives a slot back. */
  finish(name: string): void {
    this.find(name).running -= 1;
    this.running -= 1;
  }

  /** Gives a slot back that found nothing to do: the queue is empty, and its share is not used up by looking. */
  foundEmpty(name: string): void {
    const queue = this.find(name);
    this.finish(name);
    queue.time -= 1 / queue.weight;
    queue.supply = 'empty';
  }

  /** Gives the slot back and, when the same queue is next or may stay, takes it again: then true. */
  finishAndContinue(name: string): boolean {
    this.finish(name);
    const queue = this.find(name);
    const next = this.next();
    if (next !== queue && !(next && this.mayStay(queue, next))) return false;
    this.take(queue);
    return true;
  }

  /** Says that a queue may have something to do. */
  wake(name: string): void {
    const queue = this.find(name);
    if (queue.supply !== 'empty') return;
    queue.time = Math.max(queue.time, this.now());
    queue.supply = 'waking';
  }

  /** Whether the queue could have a slot now if it had something to do. */
  hasRoom(name: string): boolean {
    return this.mayStart(this.find(name));
  }

  isEmpty(name: string): boolean {
    return this.find(name).supply === 'empty';
  }

  get busy(): number {
    return this.running;
  }

  private take(queue: QueueState): void {
    queue.time += 1 / queue.weight;
    queue.running += 1;
    this.running += 1;
  }

  private next(): QueueState | undefined {
    let best: QueueState | undefined;
    for (const queue of this.queues) {
      if (isServed(queue) && this.mayStart(queue) && (best === undefined || this.precedes(queue, best))) best = queue;
    }
    return best;
  }

  private precedes(a: QueueState, b: QueueState): boolean {
    if (this.strict && a.weight !== b.weight) return a.weight > b.weight;
    return a.time < b.time || (a.time === b.time && a.weight > b.weight);
  }

  /** Whether a queue may keep a slot although another one is next. One that has just woken is not kept waiting. */
  private mayStay(queue: QueueState, next: QueueState): boolean {
    if (this.strict || next.supply !== 'ready' || queue.supply !== 'ready' || !this.mayStart(queue)) return false;
    return (queue.time - next.time) * queue.weight <= STAY;
  }

  private mayStart(queue: QueueState): boolean {
    const free = this.slots - this.running;
    if (free <= 0) return false;
    if (queue.running < queue.min) return true;
    let reserved = 0;
    for (const other of this.queues) {
      if (other !== queue) reserved += Math.max(0, other.min - other.running);
    }
    return free > reserved;
  }

  /** The virtual time of those who are served: the smallest of the ready queues, or the last that was reached. */
  private now(): number {
    let ready = Number.POSITIVE_INFINITY;
    let latest = 0;
    for (const queue of this.queues) {
      if (queue.supply === 'ready') ready = Math.min(ready, queue.time);
      latest = Math.max(latest, queue.time);
    }
    // With nobody else ready the waking queue is alone, and any start is fair: the latest gives no credit.
    return Number.isFinite(ready) ? ready : latest;
  }

  private find(name: string): QueueState {
    const queue = this.queues.find((candidate) => candidate.name === name);
    if (!queue) throw new Error(`the queue "${name}" has no weight`);
    return queue;
  }
}

function isServed(queue: QueueState): boolean {
  return queue.supply === 'ready' || queue.supply === 'waking';
}
