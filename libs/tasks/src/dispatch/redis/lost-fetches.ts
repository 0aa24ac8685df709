import { Injectable } from '@nestjs/common';
import { Loop } from '../../loop.js';
import { TaskLogger } from '../../task-logger.js';
import { answered } from './answered.js';
import { TaskQueues } from './queues.js';

/** Milliseconds. */
const INTERVAL = 2_000;
/** For how long it is looked after a connection was lost: Redis may read what was sent before then only later. Milliseconds. */
const WATCH = 60_000;

/**
 * Finds the jobs that this process has fetched from Redis without hearing of it: the
 * connection was lost before the answer came. Their locks would last for minutes, as
 * they do for what a blocked process runs. It costs nothing while nothing was lost.
 */
@Injectable()
export class LostFetches {
  private readonly suspected = new Map<string, number>();
  private isHeld: (token: string) => boolean = () => true;
  private readonly loop = new Loop(
    () => this.look(),
    INTERVAL,
    (error) => this.logger.trouble('lost fetches', error),
  );

  constructor(
    private readonly queues: TaskQueues,
    private readonly logger: TaskLogger,
  ) {}

  /** @param isHeld whether somebody holds, or waits for, the job that is fetched under a token. */
  start(isHeld: (token: string) => boolean): void {
    this.isHeld = isHeld;
    this.loop.start();
  }

  stop(): Promise<void> {
    return this.loop.stop();
  }

  /** Says that the connection of a queue was lost, and is there again. */
  suspect(queue: string): void {
    this.suspected.set(queue, performance.now());
    this.loop.wake();
  }

  private async look(): Promise<void> {
    for (const [queue, since] of this.suspected) {
      const isLast = performance.now() > since + WATCH;
      await answered(this.queues.of(queue).unlockUnheld(this.isHeld));
      if (isLast && this.suspected.get(queue) === since) this.suspected.delete(queue);
    }
    this.logger.well('lost fetches');
  }
}
