/** How many starts may overtake those that wait for their claims; what the picker's choices deviate comes on top. */
const OVERTAKING = 1;

/** A start, in the order in which slots were chosen for their queues. */
export interface Turn {
  readonly number: number;
  /** As `performance.now()` tells it. */
  readonly since: number;
}

/** A start that waits for a claim. */
interface Claiming extends Pick<Turn, 'number'> {
  /** Until when it holds up the others. */
  readonly until: number;
}

/** A start that has its task, and begins when it is its turn. */
interface Start extends Pick<Turn, 'number'> {
  readonly begin: () => void;
}

/**
 * Keeps the starts of the queues in the order in which their slots were chosen.
 * Where one queue has to claim first, while another one has tasks in hand or its
 * claim is answered sooner, the other one would run ahead of its share: so it
 * waits, after one start, for a moment. A claim that hangs holds nobody up for
 * longer than it was given.
 */
export class StartOrder {
  private count = 0;
  /** In the order of their numbers, as are the next. */
  private claiming: Claiming[] = [];
  private waiting: Start[] = [];
  /** The numbers of those that have begun before their turn. */
  private overtaking: number[] = [];
  private timer: NodeJS.Timeout | undefined;

  /** The turn of a start that is to get its task now. */
  next(): Turn {
    return { number: ++this.count, since: performance.now() };
  }

  /**
   * For a start that waits for a claim, which is sure to bring something as far as is known.
   *
   * @param patience for how long, from its turn on, it may hold up others: less than a claimed task may wait, or what waits here would go back. Milliseconds.
   * @returns what ends the wait, if it was not {@link answered}.
   */
  claims({ number, since }: Turn, patience: number): () => void {
    const start = { number, until: since + patience };
    insert(this.claiming, start);
    return () => {
      this.claiming = this.claiming.filter((other) => other !== start);
      this.release();
    };
  }

  /** For a start that has its task: undefined when it may begin, or else resolves when it may. */
  turn({ number }: Turn): Promise<void> | undefined {
    // While others wait it begins as they do, or it would come before those for which the time to wait is just over.
    if (this.waiting.length === 0 && this.mayBegin(number)) return undefined;
    return new Promise((begin) => {
      insert(this.waiting, { number, begin });
      this.release();
    });
  }

  /**
   * For starts whose claim has brought their tasks. All have them before the first
   * begins, so that those of other queues, which waited for them, begin between them.
   */
  answered(starts: readonly Start[]): void {
    const numbers = new Set(starts.map(({ number }) => number));
    this.claiming = this.claiming.filter(({ number }) => !numbers.has(number));
    for (const start of starts) insert(this.waiting, start);
    this.release();
  }

  private mayBegin(number: number): boolean {
    this.forgetHanging();
    const [first] = this.claiming;
    if (!first || first.number >= number) return true;
    this.overtaking = this.overtaking.filter((other) => other > first.number);
    if (this.overtaking.length >= OVERTAKING) return false;
    this.overtaking.push(number);
    return true;
  }

  private release(): void {
    while (this.waiting.length > 0 && this.mayBegin(this.waiting[0]!.number)) this.waiting.shift()!.begin();
    this.watch();
  }

  private forgetHanging(): void {
    const now = performance.now();
    this.claiming = this.claiming.filter(({ until }) => now < until);
  }

  /** Those that wait are held up for as long as those that claim may do so. */
  private watch(): void {
    clearTimeout(this.timer);
    const [first] = this.claiming;
    if (first && this.waiting.length > 0) this.timer = setTimeout(() => this.release(), Math.max(0, first.until - performance.now()));
  }
}

/** By number. */
function insert<T extends Pick<Turn, 'number'>>(turns: T[], turn: T): void {
  const index = turns.findIndex(({ number }) => number > turn.number);
  turns.splice(index < 0 ? turns.length : index, 0, turn);
}
