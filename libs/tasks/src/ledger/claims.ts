import { Injectable } from '@nestjs/common';
import type { StoredOptions } from './task-record.entity.js';
import { withEvent } from './ledger.js';
import { ClaimTelemetry } from '../telemetry/claims.js';
import { TasksPool } from './tasks-pool.js';

/** A task that this process has claimed. */
export interface ClaimedTask {
  id: string;
  generation: number;
  /** The number of the claim, which no other claim of this process has. */
  delivery: number;
  /** The worker that has claimed it: this process, under the id that it had then. */
  claimedBy: number;
  type: string;
  queue: string;
  /** JSON. */
  payload: string;
  version: number;
  options: StoredOptions;
  requestId: string | null;
  failures: number;
  crashes: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** When it was due, in milliseconds since 1970. */
  dueAt: number;
  /** Whether the row outlives its completion. */
  keep: boolean;
  quarantined: boolean;
}

/** What a claim brought. */
export interface ClaimedBatch {
  tasks: ClaimedTask[];
  /** How many rows it met that had lost their worker; from now on they are in quarantine. */
  lost: number;
  /** Whether there is no worker but this one; undefined when it met no row. */
  alone: boolean | undefined;
  /** Where it ended, as {@link Claims.claim} takes it. */
  cursor: Cursor | undefined;
}

/** A place in a queue. The id belongs to it, since tasks that one statement wrote are all due at the same time. */
export interface Cursor {
  /** As Postgres writes it. */
  runAt: string;
  id: string;
}

/** How a claim is given up whose task is still to run. */
export interface Release {
  task: Pick<ClaimedTask, 'id' | 'generation' | 'delivery' | 'claimedBy' | 'queue'>;
  /** Milliseconds until it is due; undefined: at the time that it was. */
  delay?: number;
  /** Whether an attempt has failed that the ledger does not know of. */
  failed?: boolean;
}

/** The start of a queue. */
const BEGINNING: Cursor = { runAt: '-infinity', id: '00000000-0000-0000-0000-000000000000' };

/** A claim of a worker that is no more is void. */
export const UNCLAIMED = `(claimed_by IS NULL OR claimed_by NOT IN (SELECT id FROM task_worker))`;
const ALONE = `SELECT count(*) < 2 AS alone FROM task_worker`;
const NOT_PAUSED = `NOT EXISTS (SELECT FROM task_queue_pause WHERE queue = $1)`;

/** A task that was in BullMQ belongs to the ledger from now on: what BullMQ still has of it can commit nothing. */
const TAKE_OVER = `generation = generation + (dispatched_at IS NOT NULL)::int, dispatched_at = NULL`;

const COLUMNS = `id, type, queue, payload::text AS payload, version, options, request_id AS "requestId", generation, delivery, failures, crashes,
  (EXTRACT(epoch FROM created_at) * 1000)::float8 AS "createdAt", (EXTRACT(epoch FROM run_at) * 1000)::float8 AS "dueAt", (options ? 'retention' OR unique_until IS NOT NULL) AS keep, quarantined,
  claimed_by AS "claimedBy"`;

/**
 * Claims up to $4 tasks of the queue $1 that are due, those first that have been so
 * for the longest time, for the worker $2 under the number $3, from ($5, $6) on. It
 * writes no indexed column, so that it is an update within the page. Those whose
 * worker was lost are not claimed: it only puts them into quarantine.
 */
export const CLAIM = `
  WITH claimed AS (
    UPDATE task SET
      claimed_by = CASE WHEN claimed_by IS NULL THEN $2::int END,
      quarantined = claimed_by IS NOT NULL,
      delivery = CASE WHEN claimed_by IS NULL THEN $3::int ELSE delivery END, ${TAKE_OVER}
    WHERE id = ANY(ARRAY(
      SELECT id FROM task
      WHERE state = 'pending' AND NOT quarantined AND queue = $1 AND run_at <= now() AND (run_at, id) >= ($5::timestamptz, $6::uuid) AND ${UNCLAIMED} AND ${NOT_PAUSED}
      ORDER BY run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED))
    RETURNING ${COLUMNS}, run_at)
  SELECT *, run_at::text AS "runAt", (${ALONE}) AS alone FROM claimed ORDER BY claimed.run_at, id`;

/** Claims one task that is in quarantine. That it had been claimed there before is a crash of whoever ran it. */
const CLAIM_QUARANTINED = `
  UPDATE task SET claimed_by = $2::int, delivery = $3::int, crashes = crashes + (claimed_by IS NOT NULL)::int, ${TAKE_OVER},
    ${withEvent("'the worker crashed'", { when: 'claimed_by IS NOT NULL' })}
  WHERE id = ANY(ARRAY(
    SELECT id FROM task
    WHERE state = 'pending' AND quarantined AND queue = $1 AND run_at <= now() AND ${UNCLAIMED} AND ${NOT_PAUSED}
    ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED))
  RETURNING ${COLUMNS}, COALESCE((history->-1->>'what') = 'the worker crashed' AND (history->-1->>'at')::timestamptz = now(), false) AS crashed`;

/** Milliseconds until the next task of the queue $1 that is not due yet. */
const NEXT_DUE = `
  SELECT (EXTRACT(epoch FROM least(
    (SELECT min(run_at) FROM task WHERE state = 'pending' AND NOT quarantined AND queue = $1 AND run_at > now()),
    (SELECT min(run_at) FROM task WHERE state = 'pending' AND quarantined AND queue = $1 AND run_at > now())) - now()) * 1000)::float8 AS due`;

/** Gives claims up; a claim that the row does not know any more gives up nothing. */
const RELEASE = `
  UPDATE task SET claimed_by = NULL, failures = task.failures + given.failed,
    run_at = CASE WHEN given.delay IS NULL THEN run_at ELSE now() + given.delay * interval '1 ms' END
  FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::float8[], $6::int[]) AS given (id, generation, delivery, claimed_by, delay, failed)
  WHERE task.id = ANY($1) AND task.id = given.id AND task.generation = given.generation AND task.delivery = given.delivery
    AND task.claimed_by = given.claimed_by AND state = 'pending'`;

const claimedIn = (quarantine: string) =>
  `SELECT id FROM task WHERE state = 'pending' AND ${quarantine} AND queue = $1 AND claimed_by = $2::int AND delivery = $3::int`;
const UNDO = `UPDATE task SET claimed_by = NULL WHERE id = ANY(ARRAY(${claimedIn('NOT quarantined')} UNION ALL ${claimedIn('quarantined')}))`;

/** A task that is due sooner than this is said at once; the others find it in time by themselves. Milliseconds. */
const SAID_WITHIN = 3_000;

/** All SQL of claiming. */
@Injectable()
export class Claims {
  /** Above every delivery that a job in BullMQ has had, for a task may come from there; one that was claimed here before has another generation by then. */
  private number = 1_000_000;

  constructor(
    private readonly pool: TasksPool,
    private readonly telemetry: ClaimTelemetry,
  ) {}

  /** A number for a claim, greater than those before it. */
  nextNumber(): number {
    return ++this.number;
  }

  /** @param cursor where to begin: where an earlier claim has ended. */
  async claim(queue: string, worker: number, number: number, size: number, cursor = BEGINNING): Promise<ClaimedBatch> {
    const rows = await this.pool.rows<ClaimedTask & { claimedBy: number | null; runAt: string; alone: boolean }>(
      CLAIM,
      [queue, worker, number, size, cursor.runAt, cursor.id],
      this.pool.relaxed,
    );
    const tasks = rows.filter(({ claimedBy }) => claimedBy !== null);
    this.telemetry.claimed(queue, tasks.length);
    this.telemetry.crashed(queue, rows.length - tasks.length);
    const last = rows.at(-1);
    return { tasks, lost: rows.length - tasks.length, alone: last?.alone, cursor: last && { runAt: last.runAt, id: last.id } };
  }

  async claimQuarantined(queue: string, worker: number, number: number): Promise<ClaimedTask | undefined> {
    // Durable: a crash that the server forgets would be one more worker for a task that takes them down.
    const [task] = await this.pool.rows<ClaimedTask & { crashed: boolean }>(CLAIM_QUARANTINED, [queue, worker, number]);
    if (task?.crashed) this.telemetry.crashed(queue);
    return task;
  }

  /** Whether there is no worker but this one. */
  async isAlone(): Promise<boolean> {
    const [row] = await this.pool.rows<{ alone: boolean }>(ALONE);
    return row!.alone;
  }

  /** Milliseconds until the next task of the queue is due that is not yet; undefined when there is none. */
  async nextDue(queue: string): Promise<number | undefined> {
    const [row] = await this.pool.rows<{ due: number | null }>(NEXT_DUE, [queue], this.pool.relaxed);
    return row?.due ?? undefined;
  }

  /**
   * Gives claims up.
   *
   * @returns the queues that have something to do for it now, or soon. The record of
   * a failure, or of a task that was put off, has given its claim up already; its
   * queue is told here all the same, since it may be asleep until later than that.
   */
  async release(releases: readonly Release[]): Promise<string[]> {
    await this.pool.change(RELEASE, [
      releases.map(({ task }) => task.id),
      releases.map(({ task }) => task.generation),
      releases.map(({ task }) => task.delivery),
      releases.map(({ task }) => task.claimedBy),
      releases.map(({ delay }) => delay ?? null),
      releases.map(({ failed }) => (failed ? 1 : 0)),
    ]);
    return [...new Set(releases.filter(({ delay = 0 }) => delay <= SAID_WITHIN).map(({ task }) => task.queue))];
  }

  /** Gives up what a claim has taken whose answer was lost. */
  async undo(queue: string, worker: number, number: number): Promise<void> {
    await this.pool.change(UNDO, [queue, worker, number]);
  }
}
