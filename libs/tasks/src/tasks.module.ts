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
import { DataSource } from 'typeorm';
import { Completions } from './completions.js';
import { endsWithin } from './deadline.js';
import { connectionOptions, queueOptions, selectDispatcher } from './dispatcher.js';
import { CORRELATION_ID, type CorrelationId, TaskDistributor } from './distributor.js';
import { FailedTaskListener } from './failed-task.listener.js';
import { Ledger } from './ledger.js';
import { QueuePauses } from './queue-pauses.js';
import { processorOf, type QueueProcessor } from './queue-processor.js';
import { TaskQueues } from './queues.js';
import { Reconciler } from './reconciler.js';
import { TaskRegistry } from './registry.js';
import { Relay } from './relay.js';
import { Scheduler } from './scheduler.js';
import { TaskAdmin } from './task-admin.js';
import { TASK_MIDDLEWARE, type TaskMiddleware, TaskRunner } from './runner.js';
import { TaskLogger } from './task-logger.js';
import { QUEUE_PROCESSORS, TaskProcessor } from './task-processor.js';
import { QueuePause, ScheduleRecord, TaskRecord } from './task-record.entity.js';
import { TaskQueue } from './task-queue.js';
import { TaskWorker } from './task-worker.js';
import { Waker } from './waker.js';

const entities = TypeOrmModule.forFeature([TaskRecord, QueuePause, ScheduleRecord]);

/** Starts the engine when every provider is ready, and stops it, in order, before the database closes. */
@Injectable()
class TaskEngine implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly config: Config,
    private readonly registrar: BullRegistrar,
    private readonly registry: TaskRegistry,
    private readonly queues: TaskQueues,
    private readonly processor: TaskProcessor,
    private readonly relay: Relay,
    private readonly reconciler: Reconciler,
    private readonly scheduler: Scheduler,
    private readonly logger: TaskLogger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    this.registry.load();
    await this.scheduler.load();
    this.registrar.register();
    for (const queue of this.queues.all()) {
      queue.on('error', (error) => this.logger.trouble(queue.name, error));
    }
    // On Postgres, a queue whose first connection fails never makes another one: better not to start.
    if (this.config.REDIS_ADDRESS === undefined) await this.processor.ready();
    this.processor.start((queue) => this.reconciler.suspect(queue));
    this.relay.start();
    this.reconciler.start();
    this.scheduler.start();
    const types = this.registry.all().map((task) => task.policy.type);
    this.logger.started(
      this.config.QUEUE_WEIGHTS,
      this.config.WORKER_CONCURRENCY,
      types,
      this.config.REDIS_ADDRESS === undefined ? 'postgres' : 'redis',
    );
  }

  /** @throws Error when a task neither ended nor could be given back, once everything else has ended. */
  async beforeApplicationShutdown(): Promise<void> {
    // Before all else: a loop may wait for a database that is slow or away, and nothing new begins meanwhile.
    this.processor.halt();
    const loops = { relay: this.relay, reconciler: this.reconciler, scheduler: this.scheduler };
    const [left] = await Promise.all([
      this.processor.stop(),
      ...Object.entries(loops).map(async ([name, loop]) => {
        if (!(await endsWithin(this.config.WORKER_SHUTDOWN_TIMEOUT, loop.stop()))) this.logger.leftBehind(name);
      }),
    ]);
    await Promise.all(this.queues.all().map((queue) => queue.close()));
    if (left > 0) throw new Error(`${left} running tasks neither ended nor could be given back`);
  }
}

/** Knows the tasks' payloads, and lets the queues go at the end. */
@Injectable()
class AdminLifecycle implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly registry: TaskRegistry,
    private readonly queues: TaskQueues,
  ) {}

  onApplicationBootstrap(): void {
    this.registry.load();
    // Whoever asks a dispatcher that is away is told so; BullMQ would print every attempt to connect besides.
    for (const queue of this.queues.all()) queue.on('error', () => undefined);
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all(this.queues.all().map((queue) => queue.close()));
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
    const providers: Provider[] = [
      ...adminProviders,
      { provide: TASK_MIDDLEWARE, useValue: options.middleware ?? [] },
      { provide: QUEUE_PROCESSORS, useFactory: (...all: QueueProcessor[]) => all, inject: processors },
      ...processors,
      Completions,
      FailedTaskListener,
      Reconciler,
      Relay,
      Scheduler,
      TaskEngine,
      TaskLogger,
      TaskProcessor,
      TaskRunner,
    ];
    return {
      module: TasksModule,
      global: true,
      imports: [entities, DiscoveryModule, ...queueModules(config)],
      providers,
      exports: [TaskAdmin, TaskDistributor, TaskQueues],
    };
  }

  /** For an operator's tool: everything but running tasks. */
  static forAdmin(config: Config): DynamicModule {
    return {
      module: TasksModule,
      global: true,
      imports: [entities, DiscoveryModule, ...queueModules(config)],
      providers: [...adminProviders, AdminLifecycle],
      exports: [TaskAdmin, TaskDistributor],
    };
  }
}

/** Arms what `FAULTS` asks for, in the fault tests. */
const faults: Provider = { provide: Symbol('waybill.faults'), useFactory: ({ FAULTS }: Config) => armFaults(FAULTS), inject: [Config] };

const adminProviders: Provider[] = [faults, Ledger, QueuePauses, TaskAdmin, TaskDistributor, TaskQueues, TaskRegistry, Waker];

function queueModules(config: Config): DynamicModule[] {
  selectDispatcher(config);
  BullModule.queueClass = TaskQueue;
  const connection = connectionOptions(config);
  return [
    // Registered by hand, when every provider is ready (nestjs/bull would run jobs before).
    BullModule.forRoot({ connection: {}, extraOptions: { manualRegistration: true } }),
    BullModule.registerQueueAsync(
      // After the database: on Postgres, a queue whose first connection fails never makes another one.
      ...config.QUEUE_WEIGHTS.queues.map(({ name }) => ({
        name,
        inject: [DataSource],
        useFactory: () => queueOptions(config, name, connection),
      })),
    ),
  ];
}
