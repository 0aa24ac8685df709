import { Injectable } from '@nestjs/common';
import { TaskLogger } from '../../task-logger.js';
import { Dispatcher } from '../dispatcher.js';
import { TaskQueues } from './queues.js';
import { Reconciler } from './reconciler.js';
import { Relay } from './relay.js';

/** BullMQ on Redis: the relay fills it, and the reconciler finds what it has lost. */
@Injectable()
export class RedisDispatcher extends Dispatcher {
  readonly name = 'redis';

  constructor(
    private readonly queues: TaskQueues,
    private readonly relay: Relay,
    private readonly reconciler: Reconciler,
    private readonly logger: TaskLogger,
  ) {
    super();
  }

  async start(): Promise<void> {
    for (const queue of this.queues.all()) {
      queue.on('error', (error) => this.logger.trouble(queue.name, error));
    }
    this.relay.start();
    this.reconciler.start();
  }

  regained(queue: string): void {
    this.reconciler.suspect(queue);
  }

  /** The workers ask for nothing more by themselves. */
  halt(): void {}

  async stop(): Promise<void> {
    await Promise.all([this.relay.stop(), this.reconciler.stop()]);
  }
}
