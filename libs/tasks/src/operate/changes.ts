import { isDeepStrictEqual } from 'node:util';
import { isLockTimeout, uniqueViolation } from '@app/postgres';
import { redact } from '@app/redaction';
import { DataSource, type EntityManager, type QueryRunner } from 'typeorm';
import { InvalidTask, UniqueKeyTaken } from '../declare/errors.js';
import { payloadJson } from '../declare/json.js';
import type { DispatchControl } from '../dispatch/dispatch-control.js';
import type { Waker } from '../distribute/waker.js';
import { KEY_IS_FREE, withEvent } from '../ledger/ledger.js';
import { TaskRecord } from '../ledger/task-record.entity.js';
import type { TaskRegistry } from '../run/registry.js';
import { unchangedSince } from './search.js';
import { ACTIONS, changeSince, findRows, unfit } from './task-rows.js';
import { type OperatorState, Refused, type TaskActionKind } from './views.js';

/** What a task must be for an action on it, beside its state, and what to do it with. */
export interface ChangeOptions {
  /** What was seen of it (`TaskRow.seen`): it must still be so. */
  seen?: string | undefined;
  /** Nothing may have happened to it since then, as Postgres writes a time. */
  before?: string | undefined;
  /** It must be in this state. */
  state?: OperatorState | undefined;
  /** Of a redrive: what to run it with. */
  payload?: unknown;
  /** Does all of it, and takes it back. */
  dryRun?: boolean | undefined;
}

/** A dead task begins again, as a new job. */
const REVIVE = `state = 'pending', generation = generation + 1, delivery = 0, failures = 0, crashes = 0, quarantined = false, run_at = now(),
  reason = NULL, error = NULL, error_group = '', finished_at = NULL, unique_key = COALESCE(unique_key, released_key), released_key = NULL,
  ${withEvent("'brought back by an operator'")}`;

/** One that Redis had been given is given to it once more, as a new job without a delay. */
const RUN_NOW = `generation = generation + (state = 'dispatched')::int, delivery = CASE WHEN state = 'dispatched' THEN 0 ELSE delivery END,
  state = 'pending', run_at = now(), ${withEvent("'told to run now by an operator'")}`;

/**
 * What can be done to many tasks in one statement: to which of them, and how. Left
 * are those of which something else must be asked or told first: a unique key that
 * another task may have, a worker or Redis that has the task.
 */
const AT_ONCE: Record<TaskActionKind, { fits: string; change: string; onRedis: boolean }> = {
  redrive: { fits: `state = 'dead' AND released_key IS NULL`, change: `UPDATE task SET ${REVIVE}`, onRedis: true },
  delete: { fits: `state IN ('dead', 'completed')`, change: 'DELETE FROM task', onRedis: true },
  cancel: { fits: `state = 'pending' AND claimed_by IS NULL`, change: 'DELETE FROM task', onRedis: false },
  'run now': {
    fits: `state = 'pending' AND claimed_by IS NULL AND run_at > now()`,
    change: `UPDATE task SET ${RUN_NOW}`,
    onRedis: false,
  },
};

/** How long an action waits for a task that somebody else holds: a burial holds it while its hook runs. Milliseconds. */
const PATIENCE = 2_000;

/** What operators do to tasks, in the ledger and where they were dispatched to. */
export class Changes {
  constructor(
    private readonly dataSource: DataSource,
    private readonly dispatch: DispatchControl,
    private readonly registry: TaskRegistry,
    private readonly waker: Waker,
  ) {}

  /**
   * Acts on one task.
   *
   * @returns whether a worker runs it, which is told that it is cancelled.
   * @throws Refused when it is not there, has changed, or is in a state that the action does not fit; InvalidTask when the payload does not
   * fit it; UniqueKeyTaken when another task has its key; DispatcherUnavailable when Redis would have to be told and does not answer.
   * Nothing has happened then.
   */
  async one(kind: TaskActionKind, id: string, options: ChangeOptions = {}): Promise<boolean> {
    for (;;) {
      const runner = this.dataSource.createQueryRunner();
      try {
        return await this.inTransaction(runner, options.dryRun === true, (manager) => this.change(manager, kind, id, options));
      } catch (error) {
        if (isLockTimeout(error)) throw new Refused('a worker or another operator is at it at this moment: try again');
        // Somebody has taken the key at the same moment: now that can be seen.
        if (uniqueViolation(error) !== 'task_unique') throw error;
      } finally {
        await runner.release();
      }
    }
  }

  /**
   * Acts on those of the tasks that one statement can act on and that nothing has happened to.
   *
   * @returns the ids of those that are done; the others are for {@link one}.
   */
  async atOnce(kind: TaskActionKind, ids: readonly string[], before: string): Promise<ReadonlySet<string>> {
    const { fits, change, onRedis } = AT_ONCE[kind];
    if (!onRedis && this.dispatch.name === 'redis') return new Set();
    const [changed] = await this.dataSource.query<[{ id: string; queue: string }[], number]>(
      `${change} WHERE id = ANY(ARRAY(
         SELECT id FROM task WHERE id = ANY($1::uuid[]) AND ${fits} AND ${unchangedSince('$2::timestamptz')} ORDER BY id FOR UPDATE SKIP LOCKED))
       RETURNING id, queue`,
      [ids, before],
    );
    if (kind === 'redrive' || kind === 'run now') for (const queue of new Set(changed.map(({ queue }) => queue))) this.waker.wake(queue);
    return new Set(changed.map(({ id }) => id));
  }

  /** Of these tasks, how many could not take back the unique key that they had: another one has it, also one before them. */
  async countKeyless(ids: readonly string[]): Promise<number> {
    const [row] = await this.dataSource.query<[{ count: number }]>(
      `SELECT count(*)::int AS count
       FROM (SELECT type, released_key, row_number() OVER (PARTITION BY type, released_key ORDER BY finished_at, id) AS nth
             FROM task WHERE id = ANY($1::uuid[]) AND state = 'dead' AND released_key IS NOT NULL) AS keyed
       WHERE nth > 1 OR EXISTS (
         SELECT FROM task WHERE task.type = keyed.type AND task.unique_key = keyed.released_key AND ${KEY_IS_FREE} IS NOT TRUE)`,
      [ids],
    );
    return row.count;
  }

  private async change(
    manager: EntityManager,
    kind: TaskActionKind,
    id: string,
    { seen, before, state, payload, dryRun = false }: ChangeOptions,
  ): Promise<boolean> {
    // Locked: it is neither claimed, dispatched nor completed meanwhile.
    const task = await manager.findOne(TaskRecord, { where: { id }, lock: { mode: 'pessimistic_write' } });
    const [row] = task ? await findRows(manager, [id]) : [];
    if (!task || !row) throw new Refused('it is not in the ledger: it is done, was cancelled or deleted, or never was');
    const change = seen === undefined ? undefined : changeSince(seen, row.seen);
    if (change !== undefined) throw new Refused(change);
    if (before !== undefined) {
      const [{ unchanged }] = await manager.query<[{ unchanged: boolean }]>(
        `SELECT ${unchangedSince('$2::timestamptz')} AS unchanged FROM task WHERE id = $1`,
        [id, before],
      );
      if (!unchanged) throw new Refused('it has changed since the dry run');
    }
    if (state !== undefined && row.state !== state) throw new Refused(`it was ${state} and is ${row.state} now`);
    if (!ACTIONS[row.state].includes(kind)) throw new Refused(unfit(kind, row.state));
    let isRunning = false;
    switch (kind) {
      case 'redrive':
        await this.takeKeyBack(manager, task);
        if (payload !== undefined) await this.replacePayload(manager, task, payload);
        await manager.query(`UPDATE task SET ${REVIVE} WHERE id = $1`, [id]);
        break;
      case 'run now':
        if (!dryRun && (await this.dispatch.remove(task, manager))) throw new Refused(unfit(kind, 'running'));
        await manager.query(`UPDATE task SET ${RUN_NOW} WHERE id = $1`, [id]);
        break;
      case 'cancel':
        // What Redis has been told no rollback takes back.
        isRunning = dryRun ? (await this.dispatch.stateOf(task)) === 'active' : await this.dispatch.remove(task, manager);
        // It has been claimed at this moment; whoever was told is told nothing, for the transaction is rolled back.
        if (isRunning && state !== undefined && state !== 'running') throw new Refused(unfit('run now', 'running'));
        await manager.query('DELETE FROM task WHERE id = $1', [id]);
        break;
      case 'delete':
        await manager.query('DELETE FROM task WHERE id = $1', [id]);
    }
    if (kind === 'redrive' || kind === 'run now') this.waker.afterCommitOf(manager, () => this.waker.wake(task.queue));
    return isRunning;
  }

  private async takeKeyBack(manager: EntityManager, { type, releasedKey }: TaskRecord): Promise<void> {
    if (releasedKey === null) return;
    const key = [type, releasedKey];
    await manager.query(`UPDATE task SET unique_key = NULL WHERE type = $1 AND unique_key = $2 AND ${KEY_IS_FREE}`, key);
    const [holder] = await manager.query<{ id: string }[]>(`SELECT id FROM task WHERE type = $1 AND unique_key = $2`, key);
    if (holder) throw new UniqueKeyTaken(`the task ${holder.id} has its unique key`);
  }

  private async replacePayload(manager: EntityManager, task: TaskRecord, payload: unknown): Promise<void> {
    const registered = this.registry.find(task.type);
    if (!registered) throw new InvalidTask(`nothing here knows the payload of "${task.type}"`);
    const kept = placeholderIn(task.payload, redact(task.payload), payload, 'the payload');
    if (kept !== undefined) throw new InvalidTask(`${kept} still holds what stands for what you do not see: put the value in its place`);
    const json = await payloadJson(registered.policy, payload);
    await manager.query('UPDATE task SET payload = $2, version = $3 WHERE id = $1', [task.id, json, registered.policy.version]);
  }

  private async inTransaction<T>(runner: QueryRunner, isDryRun: boolean, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    await runner.startTransaction();
    try {
      await runner.query(`SET LOCAL lock_timeout = ${PATIENCE}`);
      const result = await work(runner.manager);
      if (isDryRun) await runner.rollbackTransaction();
      else await runner.commitTransaction();
      return result;
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      throw error;
    }
  }
}

/** The path of a value that was sent back as it is shown where it is not shown as it is; undefined when there is none. */
function placeholderIn(original: unknown, shown: unknown, edited: unknown, path: string): string | undefined {
  const isParent = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
  if (!isParent(shown) || !isParent(edited))
    return !isDeepStrictEqual(shown, original) && isDeepStrictEqual(shown, edited) ? path : undefined;
  for (const [key, value] of Object.entries(shown)) {
    const kept = Object.hasOwn(edited, key)
      ? placeholderIn(isParent(original) && Object.hasOwn(original, key) ? original[key] : undefined, value, edited[key], `${path}.${key}`)
      : undefined;
    if (kept !== undefined) return kept;
  }
  return undefined;
}
