import {
  type DynamicModule,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  type BeforeApplicationShutdown,
  type Provider,
} from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { BullModule, BullRegistrar } from '@nestjs/bullmq';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Config } from '@app/config';
import { armFaults } from '@app/faults';
import { Completions } from './run/completions.js';
import { endsWithin } from './ends-within.js';
import { DispatchControl } from './dispatch/dispatch-control.js';
import { Dispatcher } from './dispatch/dispatcher.js';
import { LedgerControl } from './dispatch/ledger-control.js';
import { LedgerDispatcher } from './dispatch/ledger-dispatcher.js';
import { queueOptions, redisConnection } from './dispatch/redis/connection.js';
import { TaskQueues } from './dispatch/redis/queues.js';
import { Reconciler } from './dispatch/redis/reconciler.js';
import { RedisControl } from './dispatch/redis/redis-control.js';
import { RedisDispatcher } from './dispatch/redis/redis-dispatcher.js';
import { Relay } from './dispatch/redis/relay.js';
import { TaskQueue } from './dispatch/redis/task-queue.js';
import { CORRELATION_ID, type CorrelationId, TaskDistributor } from './distribute/distributor.js';
import { FailedTaskListener } from './run/failed-task.listener.js';
import { Claims } from './ledger/claims.js';
import { DatabaseClock } from './ledger/database-clock.js';
import { Election } from './ledger/election.js';
import { Handover } from './ledger/handover.js';
import { Ledger } from './ledger/ledger.js';
import { Listener } from './ledger/listener.js';
import { Maintenance } from './operate/maintenance.js';
import { Takeover } from './ledger/takeover.js';
import { QueuePause, ScheduleRecord, TaskRecord, WorkerRecord } from './ledger/task-record.entity.js';
import { TasksPool } from './ledger/tasks-pool.js';
import { WorkerLease } from './ledger/worker-lease.js';
import { processorOf, type QueueProcessor } from './run/queue-processor.js';
import { TaskRegistry } from './run/registry.js';
import { TASK_MIDDLEWARE, type TaskMiddleware, TaskRunner } from './run/runner.js';
import { Scheduler } from './operate/scheduler.js';
import { TaskAdmin } from './operate/task-admin.js';
import { TaskLogger } from './task-logger.js';
import { QUEUE_PROCESSORS, TaskProcessor } from './run/task-processor.js';
import { TaskWorker } from './run/task-worker.js';
import { Waker } from './distribute/waker.js';

/** How long the engine's loops may take to end. Milliseconds. */
const STOP_TIMEOUT = 3_000;

const entities = TypeOrmModule.forFeature([TaskRecord, QueuePause, ScheduleRecord, WorkerRecord]);

/** Starts the engine when every provider is ready, and stops it, in order, before the database closes. */
@Injectable()
class TaskEngine implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly config: Config,
    private readonly registrar: BullRegistrar,
    private readonly registry: TaskRegistry,
    private readonly listener: Listener,
    private readonly election: Election,
    private readonly clock: DatabaseClock,
    private readonly dispatcher: Dispatcher,
    private readonly processor: TaskProcessor,
    private readonly runner: TaskRunner,
    private readonly scheduler: Scheduler,
    private readonly maintenance: Maintenance,
    private readonly logger: TaskLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    this.registry.load();
    await this.scheduler.load();
    this.listener.on('cancel', (id) => this.runner.interrupt(id, 'cancelled'));
    this.dispatcher.onLost = () => this.runner.interruptAll('lock lost');
    this.listener.start();
    this.election.start();
    await this.dispatcher.start();
    this.registrar.register();
    this.processor.start(this.dispatcher);
    this.clock.start(this.dispatcher.needsRightClock, () => this.processor.resume());
    this.scheduler.start();
    this.maintenance.start();
    const types = this.registry.all().map((task) => task.policy.type);
    this.logger.started(this.config.QUEUE_WEIGHTS, this.config.WORKER_CONCURRENCY, types, this.dispatcher.name);
  }

  /** @throws Error when a task neither ended nor could be given back, once everything else has ended. */
  async beforeApplicationShutdown(): Promise<void> {
    // Before all else: a loop may wait for a database that is slow or away, and nothing new begins meanwhile.
    this.dispatcher.halt();
    this.processor.halt();
    const [left] = await Promise.all([
      this.processor.stop(),
      this.end({ clock: this.clock, scheduler: this.scheduler, maintenance: this.maintenance, election: this.election }),
    ]);
    await this.end({ dispatcher: this.dispatcher });
    await this.listener.stop();
    if (left > 0) throw new Error(`${left} running tasks neither ended nor could be given back`);
  }

  /** Stops them side by side, and waits for none that waits for a database which does not answer. */
  private async end(parts: Record<string, { stop(): Promise<void> }>): Promise<void> {
    await Promise.all(
      Object.entries(parts).map(async ([name, part]) => {
        if (!(await endsWithin(STOP_TIMEOUT, part.stop()))) this.logger.leftBehind(name);
      }),
    );
  }
}

/** Knows the tasks' payloads. */
@Injectable()
class AdminLifecycle implements OnApplicationBootstrap {
  constructor(private readonly registry: TaskRegistry) {}

  onApplicationBootstrap(): void {
    this.registry.load();
  }
}

/** The task engine: what an app imports to distribute tasks, and what it imports to run them. */
@Module({})
export class TasksModule {
  /** For an app that distributes: it needs the database, and no dispatcher. */
  static forDistributor(options: { correlationId?: CorrelationId } = {}): DynamicModule {
    return {
      module: TasksModule,
      global: true,
      imports: [entities],
      providers: [
        faults,
        Ledger,
        TasksPool,
        Waker,
        TaskDistributor,
        ...(options.correlationId ? [{ provide: CORRELATION_ID, useValue: options.correlationId }] : []),
      ],
      exports: [TaskDistributor],
    };
  }

  /**
   * For an app that runs tasks: every provider that carries `@Task`, from the
   * queues of `QUEUE_WEIGHTS`.
   *
   * @param options.middleware runs around every handler, the first outermost.
   */
  static forProcessor(config: Config, options: { middleware?: readonly TaskMiddleware[] } = {}): DynamicModule {
    BullModule.workerClass = TaskWorker;
    const processors = config.QUEUE_WEIGHTS.queues.map((queue) => processorOf(queue.name));
    const { imports, providers, exports } = dispatchOf(config);
    const engine: Provider[] = [
      ...adminProviders,
      ...providers,
      { provide: TASK_MIDDLEWARE, useValue: options.middleware ?? [] },
      { provide: QUEUE_PROCESSORS, useFactory: (...all: QueueProcessor[]) => all, inject: processors },
      ...processors,
      Completions,
      DatabaseClock,
      Election,
      FailedTaskListener,
      Listener,
      Maintenance,
      Scheduler,
      TaskEngine,
      TaskLogger,
      TaskProcessor,
      TaskRunner,
    ];
    return {
      module: TasksModule,
      global: true,
      imports: [entities, DiscoveryModule, ...imports],
      providers: engine,
      exports: [TaskAdmin, TaskDistributor, ...exports],
    };
  }

  /** For an operator's tool: everything but running tasks. */
  static forAdmin(config: Config): DynamicModule {
    const { imports, providers } = controlOf(config);
    return {
      module: TasksModule,
      global: true,
      imports: [entities, DiscoveryModule, ...imports],
      providers: [...adminProviders, ...providers, AdminLifecycle],
      exports: [TaskAdmin, TaskDistributor],
    };
  }
}

/** Arms what `FAULTS` asks for, in the fault tests. */
const faults: Provider = { provide: Symbol('waybill.faults'), useFactory: ({ FAULTS }: Config) => armFaults(FAULTS), inject: [Config] };

const adminProviders: Provider[] = [faults, Ledger, TaskAdmin, TaskDistributor, TaskRegistry, TasksPool, Waker];

type Parts = Required<Pick<DynamicModule, 'imports' | 'providers' | 'exports'>>;

// Registered by hand, when every provider is ready (nestjs/bull would run jobs before).
const extraOptions = { manualRegistration: true };

/** What an app's dispatcher is made of, to run tasks. */
function dispatchOf(config: Config): Parts {
  const { imports, providers, exports } = controlOf(config);
  if (config.REDIS_ADDRESS !== undefined) {
    return {
      imports,
      providers: [...providers, Handover, Reconciler, RedisDispatcher, Relay, { provide: Dispatcher, useExisting: RedisDispatcher }],
      exports,
    };
  }
  return {
    imports: [
      BullModule.forRootAsync({
        inject: [LedgerDispatcher],
        // BullMQ's types know only Redis here; a TaskWorker knows the ledger.
        useFactory: (dispatcher: LedgerDispatcher) => ({ connection: dispatcher as never }),
        extraOptions,
      }),
      // No queue of BullMQ's: its workers are all that the ledger needs.
      BullModule.registerQueue(),
    ],
    providers: [...providers, Claims, LedgerDispatcher, Takeover, WorkerLease, { provide: Dispatcher, useExisting: LedgerDispatcher }],
    exports: [LedgerDispatcher],
  };
}

/** What operators need of the dispatcher. */
function controlOf(config: Config): Parts {
  if (config.REDIS_ADDRESS === undefined)
    return { imports: [], providers: [{ provide: DispatchControl, useClass: LedgerControl }], exports: [] };
  BullModule.queueClass = TaskQueue;
  const connection = redisConnection(config.REDIS_ADDRESS);
  return {
    imports: [
      BullModule.forRoot({ connection: {}, extraOptions }),
      BullModule.registerQueue(...config.QUEUE_WEIGHTS.queues.map(({ name }) => ({ name, ...queueOptions(config, name, connection) }))),
    ],
    providers: [RedisControl, TaskQueues, { provide: DispatchControl, useExisting: RedisControl }],
    exports: [TaskQueues],
  };
}
