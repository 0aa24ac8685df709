import { Injectable } from '@nestjs/common';
import { faultPoint } from '@app/faults';
import { describeError, type ErrorDescription } from '@app/redaction';
import { DataSource, type EntityManager, type QueryRunner } from 'typeorm';
import type { Client } from 'pg';
import { isTransient } from '@app/postgres';
import { HookFailed, StaleAttempt, TaskTimeout } from '../declare/errors.js';
import { toJson } from '../declare/json.js';
import type { DeathReason } from '../declare/task.js';
import { errorGroup } from './error-group.js';
import type { StoredOptions } from './task-record.entity.js';
import { TasksPool } from './tasks-pool.js';
import { LEASE, looksLost } from './worker-lease.js';

/** Any number; whoever purges holds the advisory lock of it. */
const PURGE_LOCK = 7_309_453_013;

/** Purges at most $1 tasks whose time ended at $2 or later, unless another process does. */
export const PURGE = `
  WITH purged AS (
    DELETE FROM task WHERE id = ANY(ARRAY(
      SELECT id FROM task
      WHERE (SELECT pg_try_advisory_xact_lock(${PURGE_LOCK})) AND state = 'completed' AND keep_until BETWEEN $2::timestamptz AND now()
      ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING keep_until)
  SELECT count(*)::int AS count, max(keep_until) AS last FROM purged`;

/** How many events of a task are kept, the first and the newest, which tell its story. */
const HISTORY_LENGTH = 30;

/** How much of an event's text is kept, in characters; the whole of the last error is in the row's own column. */
const EVENT_LENGTH = 1_024;

/** How many of the newest events of a task keep the stack of their error, and how much of it, in characters. */
const STACKS = 4;
const STACK_LENGTH = 2_000;

/** How long an `onDead` hook may take. Milliseconds. */
const HOOK_LIMIT = 20_000;

/** How many tasks one statement writes at most, and how many characters of payloads. */
const INSERT_SIZE = 2_000;
const INSERT_LENGTH = 4 * 1024 * 1024;

export interface NewTask {
  id: string;
  type: string;
  queue: string;
  /** JSON. */
  payload: string;
  version: number;
  options: StoredOptions;
  requestId: string | undefined;
  processIn?: number;
  processAt?: Date;
  uniqueKey?: string;
  uniqueFor?: number;
}

/** A task that is to be put into BullMQ. */
export interface PendingTask {
  id: string;
  type: string;
  queue: string;
  payload: unknown;
  version: number;
  options: StoredOptions;
  requestId: string | null;
  generation: number;
  /** The newest delivery of this generation that the ledger knows of; 0 when there is none. */
  delivery: number;
  failures: number;
  createdAt: Date;
  /** Whether the row outlives its completion. */
  keep: boolean;
  /** Milliseconds until it is due, by the database's clock; 0 when it is. */
  delay: number;
}

/** Which delivery of a task claims to act for it. */
export interface Claim {
  id: string;
  generation: number;
  delivery: number;
  /** The worker that has claimed the task from the ledger; undefined where BullMQ on Redis has delivered it. */
  claimedBy: number | undefined;
}

/** What a dispatched task is known by in BullMQ. */
export interface DispatchedTask {
  id: string;
  queue: string;
  generation: number;
}

/** What is kept of an error: its words, and the frames of its stack. */
export type KeptError = Pick<ErrorDescription, 'message' | 'stack'>;

const LIVE = `state IN ('pending', 'dispatched')`;
const STALE = 'the task is done, cancelled, or run by a newer attempt';
/**
 * The delivery $2.$3 is the newest of the task $1 that has begun, and the claim is still the worker's $4. The
 * number alone does not say so: a claim that the server has forgotten in a crash is made once more by another
 * worker, whose numbers are its own.
 */
const OWNED = `id = $1 AND generation = $2 AND delivery <= $3 AND claimed_by IS NOT DISTINCT FROM $4::int AND ${LIVE}`;
/** A task that was kept, or whose `for` has passed, may still have a key that it holds no more: whoever wants it takes it away. */
export const KEY_IS_FREE = `(unique_until <= now() OR (unique_until IS NULL AND NOT ${LIVE}))`;

/**
 * SQL that adds an event to a task's history, within its bounds.
 *
 * @param what, more.error, more.stack and more.next expressions of SQL: what happened, why, where (null where that is not known), and when the task runs next.
 * @param more.when a condition without which there is no event.
 * @param more.instead a condition under which the event takes the place of the last one.
 */
export function withEvent(
  what: string,
  more: { error?: string; stack?: string; next?: string; when?: string; instead?: string } = {},
): string {
  const short = (text: string) => `left(${text}, ${EVENT_LENGTH})`;
  const fields = ["'at', now()", `'what', ${short(what)}`];
  if (more.error !== undefined) fields.push(`'error', ${short(more.error)}`);
  if (more.next !== undefined) fields.push(`'next', ${more.next}`);
  if (more.stack !== undefined) fields.push(`'stack', ${more.stack}`);
  const before = more.instead === undefined ? 'history' : `(CASE WHEN ${more.instead} THEN history - -1 ELSE history END)`;
  // A history may be longer than that, of a release whose bound was another: it shrinks.
  const kept = `CASE WHEN jsonb_array_length(${before}) < ${HISTORY_LENGTH} THEN ${before}
                     ELSE jsonb_path_query_array(${before}, '$[0, last - ${HISTORY_LENGTH - 3} to last]') END`;
  const event =
    more.stack === undefined ? `jsonb_build_object(${fields.join(', ')})` : `jsonb_strip_nulls(jsonb_build_object(${fields.join(', ')}))`;
  const story = `((${kept}) #- '{-${STACKS},stack}') || jsonb_build_array(${event})`;
  return `history = ${more.when === undefined ? story : `CASE WHEN ${more.when} THEN ${story} ELSE history END`}`;
}

/** The tasks in their order, as many at a time as one statement writes. */
function* batches<T extends { payload: string }>(tasks: readonly T[]): Generator<T[]> {
  let batch: T[] = [];
  let length = 0;
  for (const task of tasks) {
    if (batch.length === INSERT_SIZE || (batch.length > 0 && length + task.payload.length > INSERT_LENGTH)) {
      yield batch;
      [batch, length] = [[], 0];
    }
    batch.push(task);
    length += task.payload.length;
  }
  if (batch.length > 0) yield batch;
}

const COMPLETE = `state = 'completed', claimed_by = NULL, finished_at = now(), progress = NULL,
  keep_until = GREATEST(now() + COALESCE((options->>'retention')::float8, 0) * interval '1 ms', unique_until)`;

/** What becomes of tasks, in SQL: written, ended, looked for. The table is the truth about every task. */
@Injectable()
export class Ledger {
  /** The claims that a transaction is completing, by its connection. */
  private readonly completing = new WeakMap<QueryRunner, Claim>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly pool: TasksPool,
  ) {}

  /** Writes a task through the caller's transaction; with a unique key that is taken, finds the task that has it. */
  async insert(manager: EntityManager, task: NewTask): Promise<{ id: string; duplicate: boolean }> {
    const { id, type, queue, payload, version, options, requestId = null, processIn, processAt, uniqueKey, uniqueFor } = task;
    const values: unknown[] = [id, type, queue, payload, version, JSON.stringify(options), requestId];
    let columns = 'id, type, queue, payload, version, options, request_id';
    let params = '$1, $2, $3, $4, $5, $6, $7';
    const add = (column: string, param: (name: string) => string, value: unknown) => {
      values.push(value);
      columns += `, ${column}`;
      params += `, ${param(`$${values.length}`)}`;
    };
    const afterNow = (name: string) => `now() + ${name}::float8 * interval '1 ms'`;
    if (processIn !== undefined) add('run_at', afterNow, processIn);
    if (processAt !== undefined) add('run_at', (name) => name, processAt);
    if (uniqueKey !== undefined) add('unique_key', (name) => name, uniqueKey);
    if (uniqueFor !== undefined) add('unique_until', afterNow, uniqueFor);
    const insert = `INSERT INTO task (${columns}) VALUES (${params})`;
    if (uniqueKey === undefined) {
      await manager.query(insert, values);
      return { id, duplicate: false };
    }
    await manager.query(`UPDATE task SET unique_key = NULL WHERE type = $1 AND unique_key = $2 AND ${KEY_IS_FREE}`, [type, uniqueKey]);
    // The holder of the key may be done between the two statements: then the next turn inserts.
    for (;;) {
      const [row] = await manager.query<{ id: string }[]>(
        `${insert} ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING RETURNING id`,
        values,
      );
      if (row) return { id, duplicate: false };
      const [holder] = await manager.query<{ id: string }[]>(`SELECT id FROM task WHERE type = $1 AND unique_key = $2`, [type, uniqueKey]);
      if (!holder) continue;
      if (await this.passesKeyOn(manager, holder.id)) continue;
      return { id: holder.id, duplicate: true };
    }
  }

  /**
   * Writes tasks of one type through the caller's transaction, in one statement for
   * each {@link INSERT_SIZE} of them; those with a unique key that is taken, also by one
   * before them, find the task that has it.
   *
   * @param common what they share. @param tasks in their order; with unique keys all of them or none.
   */
  async insertMany(
    manager: EntityManager,
    common: Omit<NewTask, 'id' | 'payload' | 'uniqueKey'>,
    tasks: readonly Pick<NewTask, 'id' | 'payload' | 'uniqueKey'>[],
  ): Promise<{ id: string; duplicate: boolean }[]> {
    const { type, queue, version, options, requestId = null, processIn, processAt, uniqueFor } = common;
    const insert = async (some: typeof tasks): Promise<{ id: string }[]> =>
      manager.query(
        `INSERT INTO task (id, type, queue, payload, version, options, request_id, run_at, unique_key, unique_until)
         SELECT given.id, $2, $3, given.payload::jsonb, $4, $5, $6, COALESCE($7::timestamptz, now() + $8::float8 * interval '1 ms'),
                given.key, now() + $9::float8 * interval '1 ms'
         FROM unnest($1::uuid[], $10::text[], $11::text[]) AS given (id, payload, key)
         ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING RETURNING id`,
        [
          some.map(({ id }) => id),
          type,
          queue,
          version,
          JSON.stringify(options),
          requestId,
          processAt ?? null,
          processIn ?? 0,
          uniqueFor ?? null,
          some.map(({ payload }) => payload),
          some.map(({ uniqueKey }) => uniqueKey ?? null),
        ],
      );
    const holders = new Map<string, string>();
    // In the order of the keys, so that two who want some of the same never wait for each other crosswise.
    const sorted = tasks.some(({ uniqueKey }) => uniqueKey !== undefined)
      ? tasks.toSorted((a, b) => (a.uniqueKey! < b.uniqueKey! ? -1 : a.uniqueKey! > b.uniqueKey! ? 1 : 0))
      : tasks;
    for (let left of batches(sorted)) {
      if (left[0]!.uniqueKey === undefined) {
        await insert(left);
        continue;
      }
      await manager.query(
        `UPDATE task SET unique_key = NULL WHERE id = ANY(ARRAY(
           SELECT id FROM task WHERE type = $1 AND unique_key = ANY($2::text[]) AND ${KEY_IS_FREE} ORDER BY unique_key FOR UPDATE))`,
        [type, left.map(({ uniqueKey }) => uniqueKey)],
      );
      // A holder of a key may be done between the statements: then the next turn inserts.
      while (left.length > 0) {
        const written = new Set((await insert(left)).map(({ id }) => id));
        left = left.filter(({ id }) => !written.has(id));
        const found = await manager.query<{ id: string; key: string }[]>(
          `SELECT id, unique_key AS key FROM task WHERE type = $1 AND unique_key = ANY($2::text[])`,
          [type, left.map(({ uniqueKey }) => uniqueKey)],
        );
        for (const { id, key } of found) if (!(await this.passesKeyOn(manager, id))) holders.set(key, id);
        left = left.filter(({ uniqueKey }) => !holders.has(uniqueKey!));
      }
    }
    return tasks.map(({ id, uniqueKey }) => {
      const holder = uniqueKey === undefined ? undefined : holders.get(uniqueKey);
      return holder === undefined || holder === id ? { id, duplicate: false } : { id: holder, duplicate: true };
    });
  }

  /** Whether the holder of a key is the task that this transaction completes, whose key passes on to what comes after it. */
  private async passesKeyOn(manager: EntityManager, holder: string): Promise<boolean> {
    const completing = manager.queryRunner && this.completing.get(manager.queryRunner);
    return completing?.id === holder && this.releaseKey(manager, completing);
  }

  /** @returns whether the task had a key that it holds until it is done. */
  private async releaseKey(manager: EntityManager, claim: Claim): Promise<boolean> {
    const [, count] = await manager.query<[unknown, number]>(
      `UPDATE task SET unique_key = NULL WHERE ${OWNED} AND unique_key IS NOT NULL AND unique_until IS NULL`,
      owned(claim),
    );
    return count > 0;
  }

  /**
   * Announces a delivery by BullMQ on Redis that may be a repeated one, and shuts out those before it.
   *
   * @returns the crashes so far, or undefined when there is nothing left to do for this delivery.
   */
  async begin(claim: Claim, crashes: number): Promise<number | undefined> {
    const [row] = await this.pool.rows<{ crashes: number }>(
      `UPDATE task SET delivery = $3, crashes = GREATEST(crashes, $5::int),
              ${withEvent("'the worker crashed'", { when: '$5::int > crashes' })}
       WHERE ${OWNED} RETURNING crashes`,
      [...owned(claim), crashes],
    );
    return row?.crashes;
  }

  /**
   * Deletes finished tasks, in one statement; claims that are stale delete nothing.
   *
   * It may wait for a row, in any order: two of these never want the same ones, and
   * whoever else touches many rows skips those that are locked.
   */
  async deleteCompleted(claims: readonly Claim[]): Promise<void> {
    await this.pool.change(
      // The ids once more: else a ledger that nobody has analyzed yet is read from one end to the other.
      `DELETE FROM task USING unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) AS done (id, generation, delivery, claimed_by)
       WHERE task.id = ANY($1) AND task.id = done.id AND task.generation = done.generation AND task.delivery <= done.delivery
         AND task.claimed_by IS NOT DISTINCT FROM done.claimed_by AND ${LIVE}`,
      [claims.map((c) => c.id), claims.map((c) => c.generation), claims.map((c) => c.delivery), claims.map((c) => c.claimedBy ?? null)],
    );
  }

  /** Marks a finished task that is to be kept, with its result. */
  async keepCompleted(claim: Claim, result: unknown): Promise<void> {
    await this.pool.change(`UPDATE task SET ${COMPLETE}, result = $5::jsonb WHERE ${OWNED}`, [...owned(claim), resultJson(result)]);
  }

  /**
   * Runs `work` and the task's completion in one transaction.
   *
   * The row is taken last, just before the commit, so that nobody waits for it
   * while `work` takes its time: neither progress, nor a cancellation, nor the
   * reconciler. That the effects happen once is decided there, by one statement
   * that finds the row only while this claim owns it:
   *
   * - Of two deliveries that work side by side, the one that takes the row first
   *   commits. The other one's statement waits for that, finds no row, and all
   *   that it did is rolled back. So it is when the effects themselves collide (on
   *   a unique index, say): the second one waits, or fails, and has done nothing.
   * - What has happened to the task meanwhile (a newer delivery has begun, an
   *   operator cancelled it, it was buried, dispatched anew or redriven) is
   *   committed by then, or waits for this commit and then finds nothing to do.
   * - A commit that the server never heard of, because the connection or the
   *   worker died, or because it ended the transaction, has left the row: the task
   *   is delivered again.
   *
   * What it costs: an attempt that is going to lose may do all of its work before
   * it is told. The look at the beginning spares that to those that have lost already.
   *
   * @throws StaleAttempt when the claim no longer owns the task; everything is rolled back.
   */
  async completeWith<T>(claim: Claim, keep: boolean, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return this.dataSource.transaction(async (manager) => {
      const [row] = await manager.query<unknown[]>(`SELECT id FROM task WHERE ${OWNED}`, owned(claim));
      if (!row) throw new StaleAttempt(STALE);
      this.completing.set(manager.queryRunner!, claim);
      try {
        const result = await work(manager);
        const statement = keep ? `UPDATE task SET ${COMPLETE}` : 'DELETE FROM task';
        const [, count] = await manager.query<[unknown, number]>(`${statement} WHERE ${OWNED}`, owned(claim));
        if (count === 0) throw new StaleAttempt(STALE);
        await faultPoint('effect.before-commit');
        return result;
      } finally {
        this.completing.delete(manager.queryRunner!);
      }
    });
  }

  /** Adds the handler's result to a task that {@link completeWith} has completed and kept. */
  async keepResult(claim: Claim, result: unknown): Promise<void> {
    await this.pool.change(
      `UPDATE task SET result = $4::jsonb WHERE id = $1 AND generation = $2 AND delivery <= $3 AND state = 'completed'`,
      [claim.id, claim.generation, claim.delivery, resultJson(result)],
    );
  }

  /** Records an attempt that failed and when the next one is due. */
  async recordFailure(claim: Claim, failures: number, error: KeptError, delay: number): Promise<void> {
    await this.pool.change(
      `UPDATE task SET claimed_by = NULL, failures = $5::int, error = $6, run_at = now() + $7::float8 * interval '1 ms',
              ${withEvent("'attempt ' || $5::int || ' failed'", { error: '$6::text', stack: '$8::text', next: "now() + $7::float8 * interval '1 ms'" })}
       WHERE ${OWNED}`,
      [...owned(claim), failures, error.message, delay, framesOf(error)],
    );
  }

  /** Records that a task was put off. One that is put off again and again for one reason keeps the rest of its story. */
  async recordSnooze(claim: Claim, reason: string, delay: number): Promise<void> {
    await this.pool.change(
      `UPDATE task SET claimed_by = NULL, run_at = now() + $6::float8 * interval '1 ms',
              ${withEvent("'put off: ' || $5::text", {
                next: "now() + $6::float8 * interval '1 ms'",
                instead: `history->-1->>'what' = left('put off: ' || $5::text, ${EVENT_LENGTH})`,
              })}
       WHERE ${OWNED}`,
      [...owned(claim), reason, delay],
    );
  }

  /**
   * Buries a task and runs `onDead` in the same transaction.
   *
   * A hook that has failed, or takes too long, may still be at work, at any depth
   * of savepoints: nothing more can be said on its connection of which one knows
   * what it ends. So the connection is ended, and with it all that was done.
   *
   * @param limit how long the hook may take, in milliseconds.
   * @returns false when the claim no longer owned the task; then nothing happened.
   * @throws HookFailed when the hook failed, took too long, or left a transaction that cannot be committed; then nothing happened.
   */
  async bury(
    claim: Claim,
    failures: number,
    reason: DeathReason,
    error: KeptError,
    onDead?: (manager: EntityManager) => Promise<void>,
    limit = HOOK_LIMIT,
  ): Promise<boolean> {
    const runner = this.dataSource.createQueryRunner();
    let connection: Client | undefined;
    let isOver = false;
    try {
      connection = (await runner.connect()) as Client;
      await runner.startTransaction();
      const [, count]: [unknown, number] = await runner.query(
        `UPDATE task SET state = 'dead', claimed_by = NULL, finished_at = now(), failures = $5::int, reason = $6, error = $7, error_group = $8,
                unique_key = CASE WHEN unique_until > now() THEN unique_key END,
                released_key = CASE WHEN unique_until IS NULL THEN unique_key END,
                ${withEvent("'buried: ' || $6::text", { error: '$7::text', stack: '$9::text' })}
         WHERE ${OWNED}`,
        [...owned(claim), failures, reason, error.message, errorGroup(error.message), framesOf(error)],
      );
      if (count > 0 && onDead) await runHook(runner, onDead, limit);
      // Not TypeORM's: that of a hook which has left a savepoint open would end the savepoint alone.
      const { command } = await connection.query('COMMIT');
      // So Postgres answers where a statement has failed, whoever has kept that from us.
      if (command !== 'COMMIT') throw new HookFailed(new Error('a statement of it has failed, and the transaction with that'));
      isOver = true;
      return count > 0;
    } finally {
      // A connection that is ended goes not back to the pool.
      if (!isOver) void connection?.end().catch(() => undefined);
      await runner.release();
    }
  }

  /** @throws RangeError for what JSON cannot hold, and for more than 64 KiB. */
  async recordProgress(claim: Claim, value: unknown): Promise<void> {
    await this.pool.change(`UPDATE task SET progress = $5::jsonb WHERE ${OWNED}`, [...owned(claim), toJson(value, 'the progress')]);
  }

  /** Dispatched tasks that BullMQ has not been asked about for the longest time, none of them for less than `age` milliseconds. */
  async leastVerified(age: number, limit: number): Promise<DispatchedTask[]> {
    return this.pool.rows(
      `SELECT id, queue, generation FROM task
       WHERE state = 'dispatched' AND verified_at < now() - $1::float8 * interval '1 ms' ORDER BY verified_at LIMIT $2`,
      [age, limit],
    );
  }

  /** Dispatched tasks of a queue in the order of their ids, after the one given. */
  async dispatchedPage(queue: string, before: Date, after: string | undefined, limit: number): Promise<DispatchedTask[]> {
    return this.pool.rows(
      `SELECT id, queue, generation FROM task
       WHERE state = 'dispatched' AND queue = $1 AND dispatched_at < $2 AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT $4`,
      [queue, before, after ?? null, limit],
    );
  }

  /** The tasks that workers show to be running, as of the last renewals of their leases; of more than a hundred a worker those that have run for longest. */
  async running(): Promise<Set<string>> {
    const shown = await this.pool.rows<{ id: string }>(
      `SELECT entry->>'id' AS id FROM task_worker CROSS JOIN jsonb_array_elements(running) AS entry WHERE NOT (${looksLost(0)})`,
    );
    return new Set(shown.map(({ id }) => id));
  }

  /** Whether every worker has shown since then what it runs. */
  async haveShown(since: Date): Promise<boolean> {
    const [row] = await this.pool.rows<{ all: boolean }>(
      `SELECT COALESCE(bool_and(lease_until > $1::timestamptz + ${LEASE} * interval '1 ms'), true) AS all FROM task_worker WHERE NOT (${looksLost(0)})`,
      [since],
    );
    return row!.all;
  }

  /** Notes that the tasks are going to be run; one that is locked is asked about again. */
  async recordVerified(tasks: readonly DispatchedTask[]): Promise<void> {
    await this.pool.change(
      `UPDATE task SET verified_at = now() WHERE id = ANY(ARRAY(
         SELECT id FROM task WHERE id = ANY($1::uuid[]) AND state = 'dispatched' FOR NO KEY UPDATE SKIP LOCKED))`,
      [tasks.map((task) => task.id)],
    );
  }

  /**
   * Makes lost tasks pending again, as a new generation: whatever is left of the old one can commit nothing.
   * One that is locked is found again.
   *
   * @param what has happened to them, for their history.
   */
  async dispatchAnew(tasks: readonly DispatchedTask[], what = 'lost by the dispatcher, dispatched anew'): Promise<number> {
    return this.pool.change(
      `UPDATE task SET state = 'pending', generation = generation + 1, delivery = 0,
              ${withEvent('$3::text')}
       WHERE id = ANY(ARRAY(
         SELECT task.id FROM task JOIN unnest($1::uuid[], $2::int[]) AS lost (id, generation) USING (id, generation)
         WHERE task.id = ANY($1) AND state = 'dispatched' FOR NO KEY UPDATE OF task SKIP LOCKED))`,
      [tasks.map((task) => task.id), tasks.map((task) => task.generation), what],
    );
  }

  /**
   * Deletes completed tasks whose time is over, those first that ended first.
   *
   * @param after where the batch before it ended: until the next vacuum the index still holds what that one deleted.
   * @returns how many, none while another process is at it; and where it ended.
   */
  async purgeCompleted(limit: number, after: Date | undefined): Promise<{ count: number; last: Date | undefined }> {
    const [purged] = await this.pool.rows<{ count: number; last: Date | null }>(PURGE, [limit, after ?? '-infinity']);
    return { count: purged!.count, last: purged!.last ?? undefined };
  }
}

/**
 * Waits for a hook, which holds its task's row and a transaction: Postgres ends one that is idle for 60 s.
 *
 * @throws HookFailed; or what the database says, when the hook fails and its transaction is gone.
 */
async function runHook(runner: QueryRunner, onDead: (manager: EntityManager) => Promise<void>, limit: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new HookFailed(new TaskTimeout(`the hook took longer than ${limit} ms`))), limit);
  });
  const hook = async () => {
    try {
      await onDead(runner.manager);
    } catch (thrown) {
      // A hook may throw whatever it likes. Whether the database has failed it, the database is asked.
      await runner.query('SELECT 1').catch((error: unknown) => {
        if (isTransient(error)) throw error;
      });
      throw new HookFailed(thrown);
    }
  };
  await Promise.race([hook(), timeout]).finally(() => clearTimeout(timer));
}

/** The frames of a stack, without the message that they follow. */
function framesOf({ stack }: KeptError): string | null {
  const begin = stack?.search(/^ *at /m) ?? -1;
  return begin < 0 ? null : stack!.slice(begin, begin + STACK_LENGTH).toWellFormed();
}

const owned = (claim: Claim) => [claim.id, claim.generation, claim.delivery, claim.claimedBy ?? null];

/** A handler's result as JSON; one that cannot be kept is no reason to do the work once more, so the row says why. */
function resultJson(result: unknown): string | null {
  if (result === undefined) return null;
  try {
    return toJson(result, 'the result');
  } catch (error) {
    return JSON.stringify({ notKept: describeError(error).message });
  }
}
