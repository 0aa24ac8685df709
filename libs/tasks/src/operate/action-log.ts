import type { DataSource, EntityManager } from 'typeorm';
import { describeError, redact, scrub } from '@app/redaction';
import type { ActionKind, ActionRecord, Operator } from './views.js';

/** An action of which its process has said nothing for so long is over. Milliseconds; more than an action takes for its slowest step. */
const SILENCE = 60_000;

/** How long actions are kept. Days. */
export const KEPT_DAYS = 90;

const MOST_WHO = 200;
const MOST_TEXT = 2_000;
const MOST_LISTED = 200;

const COLUMNS = `id, at, who, kind, text, task_id AS "taskId", queue, type, search,
  CASE WHEN state = 'running' AND heard_at < now() - ${SILENCE} * interval '1 ms' THEN 'interrupted' ELSE state END AS state,
  total, done, refused, rate, error, finished_at AS "finishedAt"`;

/** What an action is for. */
export type Target = Partial<Pick<ActionRecord, 'taskId' | 'queue' | 'type' | 'search' | 'total' | 'rate'>>;

/** What operators have done: each action is recorded before it begins, and what came of it when it ends. */
export class ActionLog {
  constructor(private readonly dataSource: DataSource) {}

  /** Records an action that begins. @param text in a sentence what it is. */
  async begin(
    kind: ActionKind,
    who: Operator,
    text: string,
    { taskId = null, queue = null, type = null, search = null, total = 1, rate = null }: Target,
    manager: Pick<EntityManager, 'query'> = this.dataSource.manager,
  ): Promise<ActionRecord> {
    const [record] = await manager.query<[ActionRecord]>(
      `INSERT INTO task_action (kind, who, text, task_id, queue, type, search, total, rate) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       RETURNING ${COLUMNS}`,
      // What an operator has searched for may be an address.
      [kind, who.slice(0, MOST_WHO).toWellFormed(), scrub(text, MOST_TEXT), taskId, queue, type, search && redact(search), total, rate],
    );
    return record;
  }

  /** As {@link begin}, once for each plan: of one that has begun it gives the record. */
  async beginPlanned(
    plan: string,
    kind: ActionKind,
    who: Operator,
    text: string,
    target: Target,
  ): Promise<{ record: ActionRecord; isNew: boolean }> {
    return this.dataSource.transaction(async (manager) => {
      // Whoever begins the same at the same time waits here, and then finds it.
      await manager.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [plan]);
      const [begun] = await manager.query<ActionRecord[]>(`SELECT ${COLUMNS} FROM task_action WHERE plan = $1`, [plan]);
      if (begun) return { record: begun, isNew: false };
      const record = await this.begin(kind, who, text, target, manager);
      await manager.query(`UPDATE task_action SET plan = $2 WHERE id = $1`, [record.id, plan]);
      return { record, isNew: true };
    });
  }

  /** Says how far an action is. @returns false when it has been stopped. */
  async advance(id: number, done: number, refused: number): Promise<boolean> {
    const [, count] = await this.dataSource.query<[unknown, number]>(
      `UPDATE task_action SET done = $2, refused = $3, total = GREATEST(total, $2::int + $3::int), heard_at = now() WHERE id = $1 AND state = 'running'`,
      [id, done, refused],
    );
    return count > 0;
  }

  /** Records how an action has ended; one that has been stopped stays so. */
  async end(
    id: number,
    { state = 'done', done, refused = 0, error }: { state?: ActionRecord['state']; done: number; refused?: number; error?: unknown },
    manager: Pick<EntityManager, 'query'> = this.dataSource.manager,
  ): Promise<ActionRecord> {
    const message = error === undefined ? null : describeError(error).message.slice(0, MOST_TEXT).toWellFormed();
    const [[record]] = await manager.query<[[ActionRecord], number]>(
      `UPDATE task_action SET state = CASE WHEN state = 'running' THEN $2 ELSE state END, done = $3, refused = $4, error = $5, finished_at = now(), heard_at = now()
       WHERE id = $1 RETURNING ${COLUMNS}`,
      [id, state, done, refused, message],
    );
    return record;
  }

  /** Has a bulk action end before its next step, and records who did that. @returns false when it is none that could be stopped. */
  async stop(id: number, who: Operator): Promise<boolean> {
    return this.dataSource.transaction(async (manager) => {
      const [[stopped]] = await manager.query<[{ text: string; queue: string | null; type: string | null }[], number]>(
        `UPDATE task_action SET state = 'stopped' WHERE id = $1 AND state = 'running' AND search IS NOT NULL RETURNING text, queue, type`,
        [id],
      );
      if (!stopped) return false;
      const { text, ...target } = stopped;
      const record = await this.begin('stop action', who, `Stop the action ${id}: ${text}`, target, manager);
      await this.end(record.id, { done: 1 }, manager);
      return true;
    });
  }

  async find(id: number): Promise<ActionRecord | undefined> {
    const [record] = await this.dataSource.query<ActionRecord[]>(`SELECT ${COLUMNS} FROM task_action WHERE id = $1`, [id]);
    return record;
  }

  async list({ before, limit = 50 }: { before?: number | undefined; limit?: number | undefined } = {}): Promise<ActionRecord[]> {
    return this.dataSource.query(`SELECT ${COLUMNS} FROM task_action WHERE $1::int IS NULL OR id < $1 ORDER BY id DESC LIMIT $2`, [
      before ?? null,
      Math.max(1, Math.min(MOST_LISTED, Math.trunc(limit))),
    ]);
  }

  /** Records what an action that is one step does. @param name in a sentence what it is. */
  async record(kind: ActionKind, who: Operator, name: string, target: Target, work: () => Promise<Target | void>): Promise<ActionRecord> {
    const { id } = await this.begin(kind, who, name, target);
    try {
      const found = await work();
      if (found?.taskId) await this.dataSource.query(`UPDATE task_action SET task_id = $2 WHERE id = $1`, [id, found.taskId]);
      return await this.end(id, { done: 1 });
    } catch (error) {
      // Whatever the step has thrown is told to the operator; that it failed is recorded, unless the database is what fails.
      await this.end(id, { state: 'failed', done: 0, error }).catch(() => undefined);
      throw error;
    }
  }
}

/** Deletes the actions that have been kept for long enough, along their index. */
export const PURGE_ACTIONS = `DELETE FROM task_action WHERE at < now() - interval '${KEPT_DAYS} days'`;
