import {
  type DynamicModule,
  type FactoryProvider,
  Injectable,
  Module,
  type ModuleMetadata,
  type OnApplicationBootstrap,
  type Provider,
} from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DispatchControl } from './dispatch/dispatch-control.js';
import { Dispatcher } from './dispatch/dispatcher.js';
import { LedgerControl } from './dispatch/ledger-control.js';
import { LedgerDispatcher } from './dispatch/ledger-dispatcher.js';
import { QuarantineSlot } from './dispatch/quarantine-slot.js';
import { TaskQueues } from './dispatch/redis/queues.js';
import { LostFetches } from './dispatch/redis/lost-fetches.js';
import { LostWorkers } from './dispatch/redis/lost-workers.js';
import { Reconciler } from './dispatch/redis/reconciler.js';
import { RedisControl } from './dispatch/redis/redis-control.js';
import { RedisDispatcher } from './dispatch/redis/redis-dispatcher.js';
import { Relay } from './dispatch/redis/relay.js';
import { CORRELATION_ID, TaskDistributor } from './distribute/distributor.js';
import { Waker } from './distribute/waker.js';
import { Claims } from './ledger/claims.js';
import { DatabaseClock } from './ledger/database-clock.js';
import { Election } from './ledger/election.js';
import { Handover } from './ledger/handover.js';
import { Ledger } from './ledger/ledger.js';
import { Listener } from './ledger/listener.js';
import { Takeover } from './ledger/takeover.js';
import { taskEntities } from './ledger/task-record.entity.js';
import { TasksPool } from './ledger/tasks-pool.js';
import { WorkerLease } from './ledger/worker-lease.js';
import { Maintenance } from './operate/maintenance.js';
import { Scheduler } from './operate/scheduler.js';
import { TaskAdmin } from './operate/task-admin.js';
import { TaskHealth } from './operate/task-health.js';
import { EngineOptions, type TasksOptions } from './options.js';
import { Completions } from './run/completions.js';
import { FailedTaskListener } from './run/failed-task.listener.js';
import { processorOf } from './run/queue-processor.js';
import { TaskRegistry } from './run/registry.js';
import { TASK_MIDDLEWARE, TaskRunner } from './run/runner.js';
import { Statistics } from './run/statistics.js';
import { TaskEngine } from './run/task-engine.js';
import { QUEUE_PROCESSORS, TaskProcessor } from './run/task-processor.js';
import { TaskLogger } from './task-logger.js';
import { AttemptTelemetry } from './telemetry/attempts.js';
import { ClaimTelemetry } from './telemetry/claims.js';
import { LedgerGauges } from './telemetry/gauges.js';

/**
 * What an app does with tasks. `distribute`: writes them to the ledger. `process`:
 * runs every provider that carries `@Task`, and does the rest, too. `admin`: looks
 * at them and acts on them, as an operator's tool does, and runs none.
 */
export type TasksRole = 'distribute' | 'process' | 'admin';

/** As Nest's own asynchronous options. */
export interface TasksAsyncOptions extends Pick<ModuleMetadata, 'imports'>, Pick<FactoryProvider, 'inject'> {
  readonly role: TasksRole;
  // As Nest declares a factory: what is injected is known to nobody but the caller.
  readonly useFactory: (...injected: never[]) => TasksOptions | Promise<TasksOptions>;
}

const TASKS_OPTIONS = Symbol('waybill.tasks-options');

/** Knows the tasks' payloads. */
@Injectable()
class AdminLifecycle implements OnApplicationBootstrap {
  constructor(private readonly registry: TaskRegistry) {}

  onApplicationBootstrap(): void {
    this.registry.load();
  }
}

const distributing: Provider[] = [
  Ledger,
  TaskDistributor,
  TasksPool,
  Waker,
  { provide: EngineOptions, inject: [TASKS_OPTIONS], useFactory: (options: TasksOptions) => new EngineOptions(options) },
  { provide: CORRELATION_ID, inject: [TASKS_OPTIONS], useFactory: ({ correlationId }: TasksOptions) => correlationId },
];

// What belongs to the dispatcher that an app has not is made, too, and never started: which one it has is known only with its options.
const administrating: Provider[] = [
  ...distributing,
  LedgerControl,
  RedisControl,
  TaskAdmin,
  TaskQueues,
  TaskRegistry,
  {
    provide: DispatchControl,
    inject: [EngineOptions, LedgerControl, RedisControl],
    useFactory: ({ redis }: EngineOptions, ledger: LedgerControl, onRedis: RedisControl) => (redis ? onRedis : ledger),
  },
];

const processing: Provider[] = [
  ...administrating,
  AttemptTelemetry,
  Claims,
  ClaimTelemetry,
  Completions,
  DatabaseClock,
  Election,
  FailedTaskListener,
  Handover,
  LedgerDispatcher,
  LedgerGauges,
  Listener,
  LostFetches,
  LostWorkers,
  Maintenance,
  QuarantineSlot,
  Reconciler,
  RedisDispatcher,
  Relay,
  Scheduler,
  Statistics,
  Takeover,
  TaskEngine,
  TaskHealth,
  TaskLogger,
  TaskProcessor,
  TaskRunner,
  WorkerLease,
  { provide: TASK_MIDDLEWARE, inject: [TASKS_OPTIONS], useFactory: ({ middleware = [] }: TasksOptions) => middleware },
  {
    provide: Dispatcher,
    inject: [EngineOptions, LedgerDispatcher, RedisDispatcher],
    useFactory: ({ redis }: EngineOptions, ledger: LedgerDispatcher, onRedis: RedisDispatcher) => (redis ? onRedis : ledger),
  },
  {
    // Not providers themselves: a BullModule of the app would find them.
    provide: QUEUE_PROCESSORS,
    inject: [
      EngineOptions,
      TaskRunner,
      FailedTaskListener,
      TaskLogger,
      DatabaseClock,
      QuarantineSlot,
      Statistics,
      AttemptTelemetry,
      ClaimTelemetry,
    ],
    useFactory: ({ queueNames }: EngineOptions, ...parts: ConstructorParameters<ReturnType<typeof processorOf>>) =>
      new Map(queueNames.map((queue) => [queue, new (processorOf(queue))(...parts)])),
  },
];

const providersOf: Record<TasksRole, Provider[]> = {
  distribute: distributing,
  admin: [...administrating, AdminLifecycle],
  process: processing,
};

const exportsOf: Record<TasksRole, DynamicModule['exports']> = {
  distribute: [TaskDistributor],
  admin: [TaskDistributor, TaskAdmin, TaskQueues],
  process: [TaskDistributor, TaskAdmin, TaskHealth, TaskQueues],
};

/**
 * The task engine. An app imports it once, beside a TypeORM of its own that has its entities (`autoLoadEntities`);
 * {@link TaskDistributor}, and but for `distribute` {@link TaskAdmin}, are then to be had everywhere in it.
 */
@Module({})
export class TasksModule {
  static forRoot({ role, ...options }: TasksOptions & { readonly role: TasksRole }): DynamicModule {
    return TasksModule.forRootAsync({ role, useFactory: () => options });
  }

  static forRootAsync({ role, imports = [], inject = [], useFactory }: TasksAsyncOptions): DynamicModule {
    return {
      module: TasksModule,
      global: true,
      imports: [TypeOrmModule.forFeature(taskEntities), DiscoveryModule, ...imports],
      providers: [{ provide: TASKS_OPTIONS, inject, useFactory }, ...providersOf[role]],
      exports: exportsOf[role],
    };
  }
}
