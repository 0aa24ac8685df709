/** How many starts may overtake one that waits. */
const OVERTAKING = 2;
/** For how long those after them wait at most. Milliseconds. */
const PATIENCE = 10;

/**
 * Keeps the starts of the queues in the order in which their slots were chosen.
 * Where one queue has to claim first, while another one has tasks in hand, the
 * other one would run ahead of its share: so it waits, after some starts, for a
 * moment.
 */
export class StartOrder {
  private behind = 0;
  private overtaking = 0;
  private waiting: (() => void)[] = [];

  /** A start that waits for a claim, which is sure to bring something as far as is known; to be ended with {@link end}. */
  begin(): void {
    this.behind += 1;
  }

  end(): void {
    this.behind -= 1;
    if (this.behind === 0) this.release();
  }

  /** For a start that need not wait for anything itself: undefined when it may begin, or else resolves when it may. */
  turn(): Promise<void> | undefined {
    if (this.behind === 0) return undefined;
    this.overtaking += 1;
    if (this.overtaking <= OVERTAKING) return undefined;
    return new Promise((resolve) => {
      if (this.waiting.length === 0) setTimeout(() => this.release(), PATIENCE);
      this.waiting.push(resolve);
    });
  }

  private release(): void {
    this.overtaking = 0;
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
