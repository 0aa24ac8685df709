import { Queue, type QueueOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { CLOSE_TIMEOUT, endsWithin } from '../../ends-within.js';
import type { JobData } from '../job.js';
import { queueConnection, releaseQueueConnection } from './connection.js';

/** A BullMQ queue that shares its connection with the others, and whose closing waits for no dispatcher that does not answer. */
export class TaskQueue extends Queue<JobData> {
  private readonly redis: Redis;
  private readonly release: () => void;
  private ending: Promise<void> | undefined;

  constructor(name: string, options: QueueOptions) {
    // BullMQ asks a connection for its version once, and gives it up when that fails. A producer's fails at once; a worker's waits, and is asked.
    const redis = queueConnection(options.connection);
    super(name, { ...options, connection: redis, skipVersionCheck: true });
    this.redis = redis;
    // Whoever asks a Redis that is away is told so; BullMQ would print every attempt to connect besides.
    this.on('error', () => undefined);
    this.release = () => releaseQueueConnection(options.connection);
  }

  /**
   * Takes the locks of jobs whose worker is lost, so that BullMQ's next search for stalled jobs, which any worker makes,
   * finds them. BullMQ has no word for that, and is spoken to by its keys.
   *
   * @param isThere whether the worker of that name, under which it fetches, is still there.
   * @returns how many jobs they are.
   */
  async unlockLost(isThere: (worker: string) => boolean): Promise<number> {
    const jobs = await this.active();
    const workers = await Promise.all(jobs.map((job) => this.redis.hget(this.toKey(job), 'pb')));
    // One without a name is run by an older release, which renews its lock.
    return this.unlock(jobs.filter((_, index) => workers[index] && !isThere(workers[index])));
  }

  /**
   * The same for jobs that nobody holds under whose token they are locked: the answer of the fetch was lost.
   *
   * @param isHeld whether somebody does, of a token.
   */
  async unlockUnheld(isHeld: (token: string) => boolean): Promise<number> {
    const jobs = await this.active();
    const tokens = await Promise.all(jobs.map((job) => this.redis.get(`${this.toKey(job)}:lock`)));
    return this.unlock(jobs.filter((_, index) => tokens[index] && !isHeld(tokens[index])));
  }

  private active(): Promise<string[]> {
    return this.redis.lrange(this.toKey('active'), 0, -1);
  }

  private async unlock(jobs: readonly string[]): Promise<number> {
    if (jobs.length === 0) return 0;
    await this.redis
      .multi()
      .del(jobs.map((job) => `${this.toKey(job)}:lock`))
      .sadd(this.toKey('stalled'), ...jobs)
      .del(this.toKey('stalled-check'))
      .exec();
    return jobs.length;
  }

  override close(): Promise<void> {
    this.ending ??= endsWithin(CLOSE_TIMEOUT, super.close()).then(() => this.release());
    return this.ending;
  }
}
