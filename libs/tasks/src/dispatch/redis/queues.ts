import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { getQueueToken } from '@nestjs/bullmq';
import { Config } from '@app/config';
import type { Queue } from 'bullmq';
import type { JobData } from '../job.js';

/** A field of a queue's metadata in BullMQ; what it holds is of no interest. */
const ASKED = 'waybill-asked';

/** The BullMQ queues of `QUEUE_WEIGHTS`, by name. */
@Injectable()
export class TaskQueues implements OnApplicationShutdown {
  readonly names: readonly string[];

  constructor(
    private readonly moduleRef: ModuleRef,
    config: Config,
  ) {
    this.names = config.QUEUE_WEIGHTS.queues.map((queue) => queue.name);
  }

  /** After the engine has stopped, which uses them to its end. */
  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.all().map((queue) => queue.close()));
  }

  /** @throws Error when no queue of that name is configured. */
  of(name: string): Queue<JobData> {
    if (!this.names.includes(name)) throw new Error(`the queue "${name}" is not in QUEUE_WEIGHTS (${this.names.join(', ')})`);
    return this.moduleRef.get<Queue<JobData>>(getQueueToken(name), { strict: false });
  }

  all(): Queue<JobData>[] {
    return this.names.map((name) => this.of(name));
  }

  /** Resolves when the dispatcher takes tasks: asked by a write, which one that is full, read-only or away refuses. */
  async ask(): Promise<void> {
    await Promise.all(this.all().map((queue) => queue.getBackend().setQueueMeta({ [ASKED]: Date.now() })));
  }
}
