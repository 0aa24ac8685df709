import { Injectable, type Type } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { EngineOptions } from '../options.js';
import { type TaskHandler, type TaskPolicy, findPolicy } from '../declare/task.js';

export interface RegisteredTask {
  policy: TaskPolicy;
  handler: TaskHandler<unknown>;
}

/** The tasks that this process can run: every provider that carries `@Task`. */
@Injectable()
export class TaskRegistry {
  private readonly tasks = new Map<string, RegisteredTask>();

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly options: EngineOptions,
  ) {}

  /** @throws Error when two handlers claim one type, one is not made at the start, or a task names a queue that has no weight. */
  load(): void {
    const queues = this.options.queueNames;
    for (const wrapper of this.discovery.getProviders()) {
      const { metatype, instance } = wrapper;
      const policy = metatype ? findPolicy(metatype) : undefined;
      if (!policy) continue;
      // Nest has made no instance of such a provider: what it has in place of one lacks its dependencies.
      if (wrapper.isTransient || !wrapper.isDependencyTreeStatic()) {
        throw new Error(
          `the handler ${(metatype as Type).name} of "${policy.type}" is request-scoped or transient, or depends on a provider that is request-scoped: ` +
            'a handler is made once, when the worker starts, and there is no request; give it and its dependencies the default scope',
        );
      }
      const other = this.tasks.get(policy.type);
      if (other && other.handler !== instance) {
        throw new Error(`two handlers for "${policy.type}": ${other.handler.constructor.name} and ${(metatype as Type).name}`);
      }
      if (!queues.includes(policy.queue)) {
        throw new Error(`"${policy.type}" runs on the queue "${policy.queue}", which has no weight in this app (${queues.join(', ')})`);
      }
      this.tasks.set(policy.type, { policy, handler: instance as TaskHandler<unknown> });
    }
  }

  find(type: string): RegisteredTask | undefined {
    return this.tasks.get(type);
  }

  all(): RegisteredTask[] {
    return [...this.tasks.values()];
  }
}
