import { type DynamicModule, Injectable, Module, type OnModuleInit, type Type } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import { Completions } from '../run/completions.js';
import { TaskDistributor } from '../distribute/distributor.js';
import { type Duration, milliseconds } from '../declare/duration.js';
import type { Outcome } from '../dispatch/delivery.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { Ledger } from '../ledger/ledger.js';
import { Waker } from '../distribute/waker.js';
import { TaskRegistry } from '../run/registry.js';
import { TaskRunner } from '../run/runner.js';
import { EngineOptions, type TasksOptions } from '../options.js';
import { TaskLogger } from '../task-logger.js';
import { type TaskHandler, policyOf } from '../declare/task.js';
import { taskEntities, TaskRecord } from '../ledger/task-record.entity.js';
import { TasksPool } from '../ledger/tasks-pool.js';

/** A drain that runs this many tasks has found one that never ends. */
const TOO_MANY = 10_000;

/** For the tests of a team that adds tasks: what was distributed, and running it without a worker and without waiting. */
@Injectable()
export class TaskTestKit implements OnModuleInit {
  private offset = 0;

  constructor(
    private readonly dataSource: DataSource,
    private readonly registry: TaskRegistry,
    private readonly runner: TaskRunner,
  ) {}

  onModuleInit(): void {
    this.registry.load();
  }

  /** The unfinished tasks of a type, the oldest first; with `manager` also those that its open transaction has written. */
  async distributed<Payload>(
    task: Type<TaskHandler<Payload>>,
    manager?: EntityManager,
  ): Promise<{ id: string; payload: Payload; runAt: Date }[]> {
    const rows = await (manager ?? this.dataSource.manager).find(TaskRecord, {
      where: { type: policyOf(task).type, state: 'pending' },
      order: { id: 'ASC' },
    });
    return rows.map(({ id, payload, runAt }) => ({ id, payload: payload as Payload, runAt }));
  }

  /** @throws Error that lists what was distributed instead, when no unfinished task of the type has at least these fields. */
  async expectDistributed<Payload>(
    task: Type<TaskHandler<Payload>>,
    payload: Partial<Payload> = {},
    manager?: EntityManager,
  ): Promise<{ id: string; runAt: Date }> {
    const candidates = await this.distributed(task, manager);
    const found = candidates.find((candidate) => holds(candidate.payload, payload));
    if (!found) {
      const others = candidates.map((candidate) => JSON.stringify(candidate.payload)).join('\n  ') || 'none';
      throw new Error(`no ${policyOf(task).type} with ${JSON.stringify(payload)} was distributed; there are:\n  ${others}`);
    }
    return found;
  }

  /** Moves the clock that decides which tasks are due. Handlers and the database keep theirs. */
  advance(by: Duration): void {
    this.offset += milliseconds(by, 'advance');
  }

  /**
   * Runs every task that is due, and those that come due or are distributed
   * meanwhile, one at a time. Retries wait for {@link advance}.
   *
   * @returns the outcomes, in order.
   */
  async drain(): Promise<{ type: string; outcome: Outcome['kind'] }[]> {
    const outcomes: { type: string; outcome: Outcome['kind'] }[] = [];
    for (;;) {
      const [task] = await this.dataSource.query<(TaskRecord & { created: Date; request: string | null; keep: boolean })[]>(
        `SELECT *, created_at AS created, request_id AS request, (options ? 'retention' OR unique_until IS NOT NULL) AS keep FROM task
         WHERE state = 'pending' AND run_at <= now() + $1::float8 * interval '1 ms' ORDER BY run_at, id LIMIT 1`,
        [this.offset],
      );
      if (!task) return outcomes;
      if (outcomes.length === TOO_MANY) throw new Error(`more than ${TOO_MANY} tasks were due: does ${task.type} distribute itself?`);
      const outcome = await this.runner.run({
        id: task.id,
        type: task.type,
        queue: task.queue,
        payload: task.payload,
        version: task.version,
        options: task.options,
        generation: task.generation,
        failures: task.failures,
        number: task.delivery + 1,
        claimedBy: undefined,
        quarantined: false,
        crashes: 0,
        createdAt: task.created.getTime(),
        dueAt: undefined,
        requestId: task.request ?? undefined,
        keep: task.keep,
      });
      outcomes.push({ type: task.type, outcome: outcome.kind });
      if (outcome.kind === 'retry' || outcome.kind === 'snooze') {
        await this.dataSource.query(`UPDATE task SET run_at = now() + $2::float8 * interval '1 ms' WHERE id = $1`, [
          task.id,
          this.offset + outcome.delay,
        ]);
      }
    }
  }
}

function holds(payload: unknown, part: object): boolean {
  return Object.entries(part).every(([key, value]) => JSON.stringify((payload as Record<string, unknown>)[key]) === JSON.stringify(value));
}

/** In place of `TasksModule`: distributes to the ledger, and runs tasks only when the test says so. */
@Module({})
export class TasksTestingModule {
  static forRoot(options: TasksOptions): DynamicModule {
    return {
      module: TasksTestingModule,
      global: true,
      imports: [TypeOrmModule.forFeature(taskEntities), DiscoveryModule],
      providers: [
        { provide: EngineOptions, useValue: new EngineOptions(options) },
        Completions,
        DatabaseClock,
        Ledger,
        TaskDistributor,
        TaskLogger,
        TaskRegistry,
        TaskRunner,
        TasksPool,
        TaskTestKit,
        Waker,
      ],
      exports: [TaskDistributor, TaskTestKit],
    };
  }
}
