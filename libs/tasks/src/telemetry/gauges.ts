import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type BatchObservableResult, metrics } from '@opentelemetry/api';
import { Election } from '../ledger/election.js';
import { TasksPool } from '../ledger/tasks-pool.js';
import { TaskAdmin } from '../operate/task-admin.js';
import type { Overview } from '../operate/views.js';
import { EngineOptions } from '../options.js';
import { TaskProcessor } from '../run/task-processor.js';
import { TaskLogger } from '../task-logger.js';

/** The states of a queue's tasks, as operators see them. */
const STATES = ['ready', 'running', 'delayed', 'dead'] as const;

/** How long the ledger may take to answer: a Prometheus gives up after ten seconds, and would have nothing of the rest. Milliseconds. */
const PATIENCE = 4_000;

/** Milliseconds since the oldest task was due that is still to be handed to Redis; it reads one entry of an index for each queue. */
const RELAY_LAG = `
  SELECT GREATEST(0, EXTRACT(epoch FROM now() - min(oldest.run_at)) * 1000)::float8 AS lag
  FROM unnest($1::text[]) AS served (queue) CROSS JOIN LATERAL (
    SELECT run_at FROM task WHERE state = 'pending' AND NOT quarantined AND task.queue = served.queue ORDER BY run_at LIMIT 1) AS oldest`;

/**
 * What is in the ledger, measured when somebody asks. All workers would say the same
 * at the same cost, so the elected one does, from the counts that operators see, which
 * are kept for some seconds.
 */
@Injectable()
export class LedgerGauges implements OnApplicationBootstrap {
  constructor(
    private readonly admin: TaskAdmin,
    private readonly election: Election,
    private readonly pool: TasksPool,
    private readonly processor: TaskProcessor,
    private readonly options: EngineOptions,
    private readonly logger: TaskLogger,
  ) {}

  onApplicationBootstrap(): void {
    const meter = metrics.getMeter('waybill.tasks');
    const gauge = (name: string, unit: string, description: string) => meter.createObservableGauge(name, { unit, description });
    const tasks = gauge('waybill.queue.tasks', '{task}', 'Tasks by their state; estimated beyond ten thousand.');
    const latency = gauge('waybill.queue.latency', 's', 'How long the oldest ready task has been due: the signal to scale on.');
    const paused = gauge('waybill.queue.paused', '', 'Whether the queue is paused.');
    const servers = gauge('waybill.queue.workers', '{worker}', 'Workers alive that serve the queue.');
    const problems = gauge('waybill.problems', '{problem}', 'What is wrong now, by its kind, as the console says it.');
    const lag = gauge('waybill.relay.lag', 's', 'How long the oldest task that is due waits to be handed to Redis.');
    const slots = gauge('waybill.worker.slots', '{slot}', 'Slots of this worker.');
    meter.addBatchObservableCallback(
      async (result) => {
        const used = this.processor.running;
        result.observe(slots, used, { state: 'used' });
        result.observe(slots, Math.max(0, this.options.concurrency - used), { state: 'free' });
        if (this.election.heldFor === undefined) return;
        // After the other callbacks: what this one asks would else be seen to wait for a connection of the pool.
        await new Promise(setImmediate);
        try {
          const late = new Promise<never>((_, reject) =>
            setTimeout(() => reject(new Error('timeout: the ledger did not answer')), PATIENCE).unref(),
          );
          const [overview, behind] = await Promise.race([Promise.all([this.admin.overview(), this.relayLag()]), late]);
          observeQueues(overview, result);
          observeProblems(overview, result);
          if (behind !== undefined) result.observe(lag, behind / 1_000);
          this.logger.well('metrics');
        } catch (error) {
          // The database is away, or slow: what is not known is not said.
          this.logger.trouble('metrics', error);
        }
      },
      [tasks, latency, paused, servers, problems, lag, slots],
    );

    function observeQueues({ queues }: Overview, result: BatchObservableResult): void {
      for (const queue of queues) {
        const named = { 'messaging.destination.name': queue.queue };
        for (const state of STATES) result.observe(tasks, queue[state].count, { ...named, state });
        result.observe(latency, queue.latency / 1_000, named);
        result.observe(paused, queue.paused ? 1 : 0, named);
        result.observe(servers, queue.workers, named);
      }
    }

    function observeProblems(overview: Overview, result: BatchObservableResult): void {
      for (const [kind, { length }] of Map.groupBy(overview.problems, (problem) => problem.kind))
        result.observe(problems, length, { kind });
    }
  }

  private async relayLag(): Promise<number | undefined> {
    if (!this.options.redis) return undefined;
    const [row] = await this.pool.rows<{ lag: number | null }>(RELAY_LAG, [this.options.queueNames], this.pool.relaxed);
    return row?.lag ?? 0;
  }
}
