/** How many starts may overtake those that wait for their claims. */
const OVERTAKING = 2;
/** For how long it holds up the others then. Milliseconds; less than a claimed task may wait, or what waits here would go back. */
const PATIENCE = 25;

/** A start, in the order in which slots were chosen for their queues. */
export interface Turn {
  readonly number: number;
}

/** A start that waits for a claim. */
interface Claiming extends Turn {
  readonly since: number;
}

/** A start that has its task, and waits for those before it. */
interface Waiting extends Turn {
  readonly begin: () => void;
}

/**
 * Keeps the starts of the queues in the order in which their slots were chosen.
 * Where one queue has to claim first, while another one has tasks in hand or its
 * claim is answered sooner, the other one would run ahead of its share: so it
 * waits, after some starts, for a moment. A claim that hangs holds nobody up for
 * longer than that.
 */
export class StartOrder {
  private count = 0;
  /** In the order of their numbers, since they begin to wait as soon as they have one. */
  private claiming: Claiming[] = [];
  private waiting: Waiting[] = [];
  /** The numbers of those that have begun before their turn. */
  private overtaking: number[] = [];
  private timer: NodeJS.Timeout | undefined;

  /** The turn of a start that is to get its task now. */
  next(): Turn {
    return { number: ++this.count };
  }

  /** For a start that waits for a claim, which is sure to bring something as far as is known. @returns what ends the wait. */
  claims({ number }: Turn): () => void {
    const start = { number, since: performance.now() };
    this.claiming.push(start);
    return () => {
      this.claiming = this.claiming.filter((other) => other !== start);
      this.release();
    };
  }

  /** For a start that has its task: undefined when it may begin, or else resolves when it may. */
  turn({ number }: Turn): Promise<void> | undefined {
    if (this.mayBegin(number)) return undefined;
    return new Promise((begin) => {
      const index = this.waiting.findIndex((other) => other.number > number);
      this.waiting.splice(index < 0 ? this.waiting.length : index, 0, { number, begin });
      this.watch();
    });
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
    while (this.claiming.length > 0 && now >= this.claiming[0]!.since + PATIENCE) this.claiming.shift();
  }

  /** Those that wait are not held up for longer than {@link PATIENCE}. */
  private watch(): void {
    const [first] = this.claiming;
    if (!first || this.waiting.length === 0 || this.timer) return;
    const end = () => {
      this.timer = undefined;
      this.release();
    };
    this.timer = setTimeout(end, first.since + PATIENCE - performance.now());
  }
}
