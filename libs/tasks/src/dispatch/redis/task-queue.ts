import { Queue, type QueueOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { CLOSE_TIMEOUT, endsWithin } from '../../ends-within.js';
import type { JobData } from '../job.js';
import { queueConnection, releaseQueueConnection } from './connection.js';

/** Takes locks that are still under the same tokens: whoever says so may have been held up, and others have the job by then. */
const UNLOCK = `
  for i = 3, #KEYS do
    if redis.call('GET', KEYS[i]) == ARGV[2 * i - 4] then
      redis.call('DEL', KEYS[i], KEYS[2])
      redis.call('SADD', KEYS[1], ARGV[2 * i - 5])
    end
  end`;

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
   * @param present the names of the workers that are there, under which they fetch. It is called once the jobs are known,
   * so that whoever has fetched one is among them.
   */
  async unlockLost(present: () => Promise<ReadonlySet<string>>): Promise<void> {
    const jobs = await this.locked();
    const workers = await Promise.all(jobs.map(({ id }) => this.redis.hget(this.toKey(id), 'pb')));
    const isThere = await present();
    // One without a name is run by an older release, which renews its lock.
    await this.unlock(jobs.filter((_, index) => workers[index] && !isThere.has(workers[index])));
  }

  /**
   * The same for jobs that nobody holds under whose token they are locked: the answer of the fetch was lost.
   *
   * @param isHeld whether somebody does, of a token.
   */
  async unlockUnheld(isHeld: (token: string) => boolean): Promise<void> {
    const jobs = await this.locked();
    await this.unlock(jobs.filter(({ token }) => !isHeld(token)));
  }

  /** The jobs that are locked, and the tokens that they are under. */
  private async locked(): Promise<{ id: string; token: string }[]> {
    const ids = await this.redis.lrange(this.toKey('active'), 0, -1);
    const tokens = await Promise.all(ids.map((id) => this.redis.get(this.lockOf(id))));
    return ids.flatMap((id, index) => (tokens[index] ? [{ id, token: tokens[index] }] : []));
  }

  private lockOf(id: string): string {
    return `${this.toKey(id)}:lock`;
  }

  private async unlock(jobs: readonly { id: string; token: string }[]): Promise<void> {
    if (jobs.length === 0) return;
    await this.redis.eval(
      UNLOCK,
      jobs.length + 2,
      this.toKey('stalled'),
      this.toKey('stalled-check'),
      ...jobs.map(({ id }) => this.lockOf(id)),
      ...jobs.flatMap(({ id, token }) => [id, token]),
    );
  }

  override close(): Promise<void> {
    this.ending ??= endsWithin(CLOSE_TIMEOUT, super.close()).then(() => this.release());
    return this.ending;
  }
}
