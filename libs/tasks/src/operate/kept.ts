/** An answer may take this part of the time. */
const SHARE = 0.01;
/** How long an answer is kept at least and at most. Milliseconds. */
const LEAST = 1_000;
const MOST = 60_000;

/**
 * An answer that is kept for a hundred times as long as it took to find it, so that
 * to ask again and again never costs the database more than a hundredth of a core,
 * whoever asks and however much there is to read. Who asks meanwhile waits for the
 * same answer.
 */
export class Kept<T> {
  private answer: Promise<T> | undefined;
  private until = 0;

  /** @param most how long an answer is kept at most; less than usual where what takes long is not the database. */
  constructor(
    private readonly find: () => Promise<T>,
    private readonly most = MOST,
  ) {}

  get(): Promise<T> {
    if (this.answer && performance.now() < this.until) return this.answer;
    const begin = performance.now();
    this.until = Number.POSITIVE_INFINITY;
    const answer = this.find();
    this.answer = answer;
    answer.then(
      () => {
        const end = performance.now();
        if (this.answer === answer) this.until = end + Math.min(this.most, Math.max(LEAST, (end - begin) / SHARE));
      },
      // Whoever waits for it is told; the next one asks anew.
      () => {
        if (this.answer === answer) this.answer = undefined;
      },
    );
    return answer;
  }

  /** Has the next one ask anew: what is kept is known to be past. */
  forget(): void {
    this.answer = undefined;
  }
}
