import { Queue, type QueueOptions } from 'bullmq';
import { CLOSE_TIMEOUT, endsWithin } from '../../ends-within.js';
import { queueConnection, releaseQueueConnection } from './connection.js';

/** A BullMQ queue that shares its connection with the others, and whose closing waits for no dispatcher that does not answer. */
export class TaskQueue extends Queue {
  private readonly release: () => void;
  private ending: Promise<void> | undefined;

  constructor(name: string, options: QueueOptions) {
    // BullMQ asks a connection for its version once, and gives it up when that fails. A producer's fails at once; a worker's waits, and is asked.
    super(name, { ...options, connection: queueConnection(options.connection), skipVersionCheck: true });
    // Whoever asks a Redis that is away is told so; BullMQ would print every attempt to connect besides.
    this.on('error', () => undefined);
    this.release = () => releaseQueueConnection(options.connection);
  }

  override close(): Promise<void> {
    this.ending ??= endsWithin(CLOSE_TIMEOUT, super.close()).then(() => this.release());
    return this.ending;
  }
}
