/**
 * Runs a job again and again: at once when woken, and at the latest `interval`
 * milliseconds after the last run. Runs never overlap; an error is reported and
 * the next run comes after the interval.
 */
export class Loop {
  private timer: NodeJS.Timeout | undefined;
  private current: Promise<void> | undefined;
  private woken = false;
  private active = false;
  private since = 0;

  constructor(
    private readonly job: () => Promise<void>,
    private readonly interval: number,
    private readonly onError: (error: unknown) => void,
  ) {}

  start(): void {
    this.active = true;
    this.wake();
  }

  /** Runs the job now, or once more after the run that is under way. */
  wake(): void {
    this.woken = true;
    if (this.active && !this.current) this.run();
  }

  /** Says that a run which may be long gets on: it has done a part that has an end of its own. */
  progress(): void {
    this.since = performance.now();
  }

  /** For how many milliseconds the run under way has gone on, or its part has; 0 between two runs. */
  get runsFor(): number {
    return this.current ? performance.now() - this.since : 0;
  }

  /** Resolves when the run under way is over; there are no more. */
  async stop(): Promise<void> {
    this.active = false;
    clearTimeout(this.timer);
    await this.current;
  }

  private run(): void {
    clearTimeout(this.timer);
    this.woken = false;
    this.since = performance.now();
    this.current = this.job()
      .then(
        () => true,
        (error: unknown) => {
          this.onError(error);
          return false;
        },
      )
      .then((well) => {
        this.current = undefined;
        if (!this.active) return;
        if (this.woken && well) this.run();
        else this.timer = setTimeout(() => this.run(), this.interval);
      });
  }
}
