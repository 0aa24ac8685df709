import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { Backoff } from '../declare/backoff.js';
import type { TraceContext } from '../telemetry/trace-context.js';

/**
 * `pending`: committed; it waits for its time, for a worker to claim it, or for the
 * worker that has claimed it. `dispatched`: handed to BullMQ on Redis. `dead`:
 * buried. `completed`: kept for its retention or its uniqueness; any other task is
 * deleted when it completes.
 */
export type TaskState = 'pending' | 'dispatched' | 'dead' | 'completed';

/** What was decided about a task when it was distributed. Durations are in milliseconds. */
export interface StoredOptions {
  maxRetry: number;
  timeout: number;
  /** ISO 8601. */
  deadline?: string;
  retention?: number;
  backoff?: Backoff;
  /** Where the distribution was traced. */
  trace?: TraceContext;
}

/** What happened to a task, in the words an operator reads. */
export interface HistoryEntry {
  at: string;
  what: string;
  error?: string;
  /** The error's frames, of the newest four events that have any; without secrets, at most 2,000 characters. */
  stack?: string;
  /** When it runs next, where the event decided that; ISO 8601. */
  next?: string;
}

/** A row of the ledger: a task, from the commit that made it until it is completed or buried. */
@Entity('task')
@Index('task_ready', ['queue', 'runAt', 'id'], { where: "state = 'pending' AND NOT quarantined" })
@Index('task_quarantine', ['queue', 'runAt', 'id'], { where: "state = 'pending' AND quarantined" })
@Index('task_dispatched', ['verifiedAt'], { where: "state = 'dispatched'" })
@Index('task_dead', ['queue', 'type', 'errorGroup', 'finishedAt', 'id'], { where: "state = 'dead'" })
@Index('task_out', ['queue', 'runAt', 'id'], { where: "state = 'dispatched'" })
@Index('task_ended', ['state', 'finishedAt', 'id'], { where: "state IN ('dead', 'completed')" })
@Index('task_kept', ['keepUntil'], { where: "state = 'completed'" })
@Index('task_released', ['type', 'releasedKey'], { where: 'released_key IS NOT NULL' })
@Index('task_unique', ['type', 'uniqueKey'], { unique: true, where: 'unique_key IS NOT NULL' })
export class TaskRecord {
  /** A version 7 UUID: later tasks sort later. */
  @PrimaryColumn('uuid')
  id: string;

  @Column('text')
  type: string;

  @Column('text')
  queue: string;

  @Column('jsonb')
  payload: unknown;

  @Column('integer', { default: 1 })
  version: number;

  @Column('text', { default: 'pending' })
  state: TaskState;

  @Column('jsonb')
  options: StoredOptions;

  @Column('timestamptz', { name: 'run_at', default: () => 'now()' })
  runAt: Date;

  @Column('text', { name: 'request_id', nullable: true })
  requestId: string | null;

  /** The key that the task holds. */
  @Column('text', { name: 'unique_key', nullable: true })
  uniqueKey: string | null;

  /** The key that the task held when it was buried, and takes back when it is redriven. */
  @Column('text', { name: 'released_key', nullable: true })
  releasedKey: string | null;

  /** Until when the key is taken; null means until the task is done. */
  @Column('timestamptz', { name: 'unique_until', nullable: true })
  uniqueUntil: Date | null;

  /** How often the task was dispatched anew, after a loss or by an operator. */
  @Column('integer', { default: 0 })
  generation: number;

  /** The newest delivery that has begun, or on the ledger the number of the claim: an older one can commit nothing. */
  @Column('integer', { default: 0 })
  delivery: number;

  /** The worker that has claimed the task from the ledger. A claim of a worker that is no more is void. */
  @Column('integer', { name: 'claimed_by', nullable: true })
  claimedBy: number | null;

  /** Whether the task has lost a worker that had claimed it: from then on it is claimed by itself. */
  @Column('boolean', { default: false })
  quarantined: boolean;

  @Column('integer', { default: 0 })
  failures: number;

  @Column('integer', { default: 0 })
  crashes: number;

  @Column('jsonb', { default: [] })
  history: HistoryEntry[];

  @Column('text', { nullable: true })
  reason: string | null;

  @Column('text', { nullable: true })
  error: string | null;

  /** What a dead task's error has in common with others of its kind; '' for all others, and where it is not known. */
  @Column('text', { name: 'error_group', default: '' })
  errorGroup: string;

  @Column('jsonb', { nullable: true })
  progress: unknown;

  @Column('jsonb', { nullable: true })
  result: unknown;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;

  @Column('timestamptz', { name: 'dispatched_at', nullable: true })
  dispatchedAt: Date | null;

  /** When BullMQ was last seen to know the task. */
  @Column('timestamptz', { name: 'verified_at', nullable: true })
  verifiedAt: Date | null;

  @Column('timestamptz', { name: 'finished_at', nullable: true })
  finishedAt: Date | null;

  /** Until when a completed task is kept. */
  @Column('timestamptz', { name: 'keep_until', nullable: true })
  keepUntil: Date | null;
}

/** A task that a worker runs, as its row shows it. */
export interface RunningEntry {
  id: string;
  type: string;
  queue: string;
  /** Milliseconds since 1970, by the database's clock. */
  since: number;
}

/** A worker process, with what it shows of itself; a worker of the release before shows nothing, which is null. */
@Entity('task_worker')
export class WorkerRecord {
  @PrimaryColumn('integer', { generated: 'identity', generatedIdentity: 'ALWAYS' })
  id: number;

  @Column('text')
  host: string;

  @Column('integer')
  pid: number;

  @Column('timestamptz', { name: 'started_at', default: () => 'now()' })
  startedAt: Date;

  /** Until when it is taken to be alive without another word of it. */
  @Column('timestamptz', { name: 'lease_until' })
  leaseUntil: Date;

  /** Of the app. */
  @Column('text', { nullable: true })
  version: string | null;

  /** The queues it serves, with their weights. */
  @Column('jsonb', { nullable: true })
  queues: Record<string, number> | null;

  /** How many tasks it runs at most. */
  @Column('integer', { nullable: true })
  slots: number | null;

  /** How many it runs of each queue, where there are any, at its last renewal. */
  @Column('jsonb', { nullable: true })
  busy: Record<string, number> | null;

  /** What it runs, those first that run for the longest time; at most 100. */
  @Column('jsonb', { nullable: true })
  running: RunningEntry[] | null;
}

/**
 * What happened in a queue within a minute: counts, to which every worker adds its
 * own, and gauges, which one of them measures. Kept for a day and an hour.
 */
@Entity('task_statistic')
export class StatisticRecord {
  @PrimaryColumn('timestamptz')
  minute: Date;

  @PrimaryColumn('text')
  queue: string;

  /** Attempts that began. */
  @Column('integer', { default: 0 })
  started: number;

  /** Tasks that were done. */
  @Column('integer', { default: 0 })
  completed: number;

  /** Attempts that failed, the last ones included. */
  @Column('integer', { default: 0 })
  failed: number;

  /** Tasks that were buried. */
  @Column('integer', { default: 0 })
  died: number;

  /** Attempts of which it is known how long they waited since they were due; for how long, all together, in milliseconds. */
  @Column('integer', { default: 0 })
  waits: number;

  @Column('double precision', { default: 0 })
  waited: number;

  /** How long the attempts took that ended, all together, in milliseconds. */
  @Column('double precision', { default: 0 })
  ran: number;

  @Column('integer', { nullable: true })
  ready: number | null;

  @Column('integer', { nullable: true })
  running: number | null;

  @Column('integer', { nullable: true })
  delayed: number | null;

  @Column('integer', { nullable: true })
  dead: number | null;

  /** Milliseconds that the oldest ready task has been due. */
  @Column('double precision', { nullable: true })
  latency: number | null;
}

/** A queue that an operator has paused. In the database, because a flushed Redis forgets it. */
@Entity('task_queue_pause')
export class QueuePause {
  @PrimaryColumn('text')
  queue: string;

  @Column('timestamptz', { name: 'paused_at', default: () => 'now()' })
  pausedAt: Date;
}

/** What came of one tick of a schedule; the times as ISO 8601. */
export interface TickEntry {
  due: string;
  at: string;
  what: 'distributed' | 'missed' | 'run by an operator';
  taskId: string | null;
}

/** How far a periodic task has been distributed. */
@Entity('task_schedule')
export class ScheduleRecord {
  @PrimaryColumn('text')
  type: string;

  /** A change of the expression starts the schedule anew. */
  @Column('text')
  cron: string;

  @Column('text')
  timezone: string;

  /** The next tick that nobody has distributed yet. */
  @Column('timestamptz', { name: 'next_at' })
  nextAt: Date;

  /** Since when an operator has paused it; null: it runs. */
  @Column('timestamptz', { name: 'paused_at', nullable: true })
  pausedAt: Date | null;

  /** When a worker last said that it declares it. */
  @Column('timestamptz', { name: 'declared_at', default: () => 'now()' })
  declaredAt: Date;

  /** What came of the last ticks, the newest first; at most ten. */
  @Column('jsonb', { default: [] })
  ticks: TickEntry[];
}

/** What an operator has done, from its beginning; kept for 90 days. */
@Entity('task_action')
@Index('task_action_at', ['at'])
@Index('task_action_plan', ['plan'], { unique: true, where: 'plan IS NOT NULL' })
export class ActionEntry {
  @PrimaryColumn('integer', { generated: 'identity', generatedIdentity: 'ALWAYS' })
  id: number;

  @Column('timestamptz', { default: () => 'now()' })
  at: Date;

  /** What was planned, where that was a dry run: it is carried out once. */
  @Column('uuid', { nullable: true })
  plan: string | null;

  @Column('text')
  who: string;

  @Column('text')
  kind: string;

  @Column('text')
  text: string;

  @Column('uuid', { name: 'task_id', nullable: true })
  taskId: string | null;

  @Column('text', { nullable: true })
  queue: string | null;

  @Column('text', { nullable: true })
  type: string | null;

  @Column('jsonb', { nullable: true })
  search: object | null;

  @Column('text', { default: 'running' })
  state: 'running' | 'done' | 'stopped' | 'failed' | 'interrupted';

  @Column('integer', { default: 1 })
  total: number;

  @Column('integer', { default: 0 })
  done: number;

  @Column('integer', { default: 0 })
  refused: number;

  @Column('double precision', { nullable: true })
  rate: number | null;

  @Column('text', { nullable: true })
  error: string | null;

  /** When the process that is at it last said so. */
  @Column('timestamptz', { name: 'heard_at', default: () => 'now()' })
  heardAt: Date;

  @Column('timestamptz', { name: 'finished_at', nullable: true })
  finishedAt: Date | null;
}

/** All of the engine's. */
export const taskEntities = [ActionEntry, TaskRecord, QueuePause, ScheduleRecord, StatisticRecord, WorkerRecord];
