import type { DataSource } from 'typeorm';
import { COUNTED, NAMED_QUEUES, plannedRows, TO_RUN } from './counts.js';
import { findRows, STATE, WITH_RUNNING } from './task-rows.js';
import { type OperatorState, OPERATOR_STATES, Refused, type SearchPage, type TaskSearch } from './views.js';

/** How long a search may take before it answers with what it has. Milliseconds. */
const BUDGET = 1_000;
/** How many tasks one statement looks at, at most. */
const SLICE = 20_000;
const MOST_ON_PAGE = 200;
const MOST_CHARACTERS = 1_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Where a walk stands: at which task of its order. */
export interface Position {
  /** The time in the order, as Postgres writes it, which keeps the microseconds; null where tasks are in the order of their ids. */
  key: string | null;
  id: string;
}

/** What is stored of the tasks in a state, for the planner. */
const AS_STORED: Record<Exclude<OperatorState, 'running'>, string> = {
  ready: `state IN ('pending', 'dispatched') AND run_at <= now()`,
  delayed: `state IN ('pending', 'dispatched') AND run_at > now()`,
  dead: `state = 'dead'`,
  completed: `state = 'completed'`,
};

/** What a look at the next tasks has found. */
export interface Slice {
  /** Those that fit, in their order. */
  fitting: Position[];
  /** Where it ended; undefined at the end of all. */
  end: Position | undefined;
  /** The time of that. */
  endAt: Date | undefined;
}

/**
 * Walks through the tasks that a search means, in an order that an index has, some
 * at a time: those that are dead or completed by when they ended, those that are
 * ready or delayed by when they run, all others by their ids, which tell when they
 * were made. Whatever of the search no index knows is looked at task by task.
 */
export class Walk {
  private readonly values: unknown[] = [];
  readonly order: SearchPage['order'];
  /** SQL of the tasks in their order, `id`, `key` and whether each `fits`; from a position on, and so many. */
  private readonly select: (from: { key: string; id: string } | undefined, limit: string) => string;
  private readonly direction: '' | 'DESC';
  /** SQL of what matches, as far as the planner can say how much that is. */
  private readonly matching: string;

  /**
   * @param more.before only tasks that nothing has happened to since then, as Postgres writes a time. @param more.only a condition in SQL.
   * @param more.oldestFirst those that ended first come first.
   */
  constructor(
    private readonly dataSource: DataSource,
    search: TaskSearch,
    { before, only, oldestFirst = false }: { before?: string | undefined; only?: string | undefined; oldestFirst?: boolean } = {},
  ) {
    check(search);
    const { state } = search;
    // As it was at that time, too: what has aged or become due since is none of those that were seen.
    const clock = before === undefined ? 'now()' : `${this.add(before)}::timestamptz`;
    const fits = this.conditionsOf(search, clock);
    if (only !== undefined) fits.push(only);
    const matching = ['true', ...fits, ...(state === undefined || state === 'running' ? [] : [AS_STORED[state]])];
    this.matching = matching.join(' AND ');
    if (before !== undefined) fits.push(unchangedSince(clock));
    if (before !== undefined && state === 'ready') fits.push(`run_at <= ${clock}`);
    const fitting = fits.length === 0 ? 'true' : `COALESCE(${fits.join(' AND ')}, false)`;
    const ends = state === 'dead' || state === 'completed';
    this.order = ends ? 'ended' : state === 'ready' || state === 'delayed' ? 'runs' : 'created';
    this.direction = this.order === 'runs' || oldestFirst ? '' : 'DESC';
    const direction = this.direction;
    const bound = (name: string, from: { key: string; id: string } | undefined) =>
      from ? `AND (${name}, id) ${direction === '' ? '>' : '<'} (${from.key}::timestamptz, ${from.id}::uuid)` : '';
    if (search.id !== undefined) {
      const id = this.add(search.id);
      this.order = 'created';
      this.direction = 'DESC';
      const states = state === undefined ? fitting : `${fitting} AND ${STATE} = '${state}'`;
      this.select = (from, limit) =>
        `SELECT id, NULL::timestamptz AS key, ${states} AS fits FROM task WHERE id = ${id}::uuid ${from ? `AND id < ${from.id}::uuid` : ''} LIMIT ${limit}`;
    } else if (state === 'dead' && search.group !== undefined && search.type !== undefined) {
      // Along the index by queue, type and group.
      const [type, group] = [this.add(search.type), this.add(search.group)];
      this.select = this.byQueue(search.queue, (from, limit) => [
        `SELECT id, finished_at AS key, ${fitting} AS fits FROM task
         WHERE state = 'dead' AND task.queue = named.queue AND type = ${type} AND error_group = ${group} ${bound('finished_at', from)}
         ORDER BY finished_at ${direction}, id ${direction} LIMIT ${limit}`,
      ]);
    } else if (ends) {
      this.select = (from, limit) =>
        `SELECT id, finished_at AS key, ${fitting} AS fits FROM task
         WHERE state = '${state}' ${bound('finished_at', from)} ORDER BY finished_at ${direction}, id ${direction} LIMIT ${limit}`;
    } else if (state === 'ready' || state === 'delayed') {
      this.select = this.byQueue(search.queue, (from, limit) =>
        TO_RUN.map(
          (condition) =>
            `(SELECT id, run_at AS key, ${fitting} AND ${STATE} = '${state}' AS fits FROM task
              WHERE ${condition} AND task.queue = named.queue AND run_at ${state === 'ready' ? '<=' : '>'} now() ${bound('run_at', from)}
              ORDER BY run_at, id LIMIT ${limit})`,
        ),
      );
    } else {
      const base = ['true'];
      if (state === 'running') base.push(`id IN (SELECT id FROM running)`);
      // The index on the key begins with the type: one step for each type.
      if (search.uniqueKey !== undefined) base.push(`id = ANY(ARRAY(${this.holders(search.uniqueKey)}))`);
      const states = state === undefined ? fitting : `${fitting} AND ${STATE} = '${state}'`;
      this.select = (from, limit) =>
        `SELECT id, created_at AS key, ${states} AS fits FROM task
         WHERE ${base.join(' AND ')} ${from ? `AND id ${direction === '' ? '>' : '<'} ${from.id}::uuid` : ''} ORDER BY id ${direction} LIMIT ${limit}`;
    }
  }

  /** Looks at the next tasks. @param want how many that fit are wanted at most. */
  async slice(from: Position | undefined, size: number, want: number): Promise<Slice> {
    const values = [...this.values, size, want, ...(from ? [from.key, from.id] : [])];
    const at = this.values.length;
    const position = from && { key: `$${at + 3}`, id: `$${at + 4}` };
    // By the ids alone the key of the position is of no use, and Postgres has to be told its type all the same.
    const order = this.order === 'created' ? `id ${this.direction}` : `key ${this.direction}, id ${this.direction}`;
    const [row] = await this.dataSource.query<[{ scanned: number; fitting: Position[]; last: Position | null; lastAt: Date | null }]>(
      `WITH ${WITH_RUNNING},
       slice AS MATERIALIZED (${this.select(position, `$${at + 1}`)}),
       ordered AS (SELECT *, row_number() OVER (ORDER BY ${order}) AS nth FROM slice ORDER BY nth LIMIT $${at + 1}),
       chosen AS (SELECT * FROM ordered WHERE fits ORDER BY nth LIMIT $${at + 2})
       SELECT (SELECT count(*) FROM ordered)::int AS scanned,
              COALESCE((SELECT jsonb_agg(jsonb_build_object('key', key::text, 'id', id) ORDER BY nth) FROM chosen), '[]') AS fitting,
              (SELECT jsonb_build_object('key', key::text, 'id', id) FROM ordered ORDER BY nth DESC LIMIT 1) AS last,
              (SELECT key FROM ordered ORDER BY nth DESC LIMIT 1) AS "lastAt"
              ${from ? `WHERE $${at + 3}::text IS NULL OR true` : ''}`,
      values,
    );
    const { scanned, fitting, last, lastAt } = row;
    // Where those that were wanted are found, the rest of the slice has not been looked at.
    if (fitting.length === want) return { fitting, end: fitting.at(-1), endAt: lastAt ?? undefined };
    return { fitting, end: scanned < size || !last ? undefined : last, endAt: lastAt ?? undefined };
  }

  /** How many the planner takes there to be. */
  async estimate(): Promise<number> {
    // What this does not ask for has a type all the same.
    const unused = this.values.map((_, index) => `AND ($${index + 1}::text IS NULL OR true)`).join(' ');
    return plannedRows(this.dataSource, `${this.matching} ${unused}`, this.values);
  }

  private byQueue(
    queue: string | undefined,
    branches: (from: { key: string; id: string } | undefined, limit: string) => string[],
  ): (from: { key: string; id: string } | undefined, limit: string) => string {
    const named =
      queue === undefined
        ? `(${NAMED_QUEUES.replaceAll('$1::text[]', "'{}'::text[]")} SELECT queue FROM named)`
        : `(SELECT ${this.add(queue)}::text AS queue)`;
    return (from, limit) => `SELECT met.* FROM ${named} AS named CROSS JOIN LATERAL (${branches(from, limit).join(' UNION ALL ')}) AS met`;
  }

  private add(value: unknown): string {
    return `$${this.values.push(value)}`;
  }

  private conditionsOf({ type, queue, error, group, olderThan, youngerThan, requestId, uniqueKey }: TaskSearch, clock: string): string[] {
    const conditions: string[] = [];
    if (type !== undefined) conditions.push(`type = ${this.add(type)}`);
    if (queue !== undefined) conditions.push(`task.queue = ${this.add(queue)}`);
    if (error !== undefined) conditions.push(`position(lower(${this.add(error)}) IN lower(error)) > 0`);
    if (group !== undefined) conditions.push(`state = 'dead' AND error_group = ${this.add(group)}`);
    const age = 'COALESCE(finished_at, created_at)';
    if (olderThan !== undefined) conditions.push(`${age} <= ${clock} - ${this.add(olderThan)}::float8 * interval '1 ms'`);
    if (youngerThan !== undefined) conditions.push(`${age} >= ${clock} - ${this.add(youngerThan)}::float8 * interval '1 ms'`);
    if (requestId !== undefined) conditions.push(`request_id = ${this.add(requestId)}`);
    if (uniqueKey !== undefined) {
      const key = this.add(uniqueKey);
      conditions.push(`(unique_key = ${key} OR (state = 'dead' AND released_key = ${key}))`);
    }
    return conditions;
  }

  /** Who has a key, and the dead who had it. */
  private holders(uniqueKey: string): string {
    const key = this.add(uniqueKey);
    const along = (column: string) => `
      (WITH RECURSIVE kinds AS (
        (SELECT type FROM task WHERE ${column} IS NOT NULL ORDER BY type LIMIT 1)
        UNION ALL
        SELECT (SELECT task.type FROM task WHERE ${column} IS NOT NULL AND task.type > kinds.type ORDER BY task.type LIMIT 1)
        FROM kinds WHERE kinds.type IS NOT NULL)
      SELECT held.id FROM kinds CROSS JOIN LATERAL (SELECT id FROM task WHERE task.type = kinds.type AND ${column} = ${key}) AS held)`;
    return `${along('unique_key')} UNION ${along('released_key')}`;
  }
}

/**
 * A page of the tasks that match. It takes a second at the most, and then says how far it has come.
 *
 * @throws Refused for a search that cannot be.
 */
export async function searchTasks(
  dataSource: DataSource,
  search: TaskSearch,
  { after, limit = 50 }: { after?: string; limit?: number } = {},
): Promise<SearchPage> {
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > MOST_ON_PAGE) throw new Refused(`a page has from 1 to ${MOST_ON_PAGE} tasks`);
  const walk = new Walk(dataSource, search);
  const begin = performance.now();
  const until = begin + BUDGET;
  const ids: string[] = [];
  let from = after === undefined ? undefined : positionOf(after);
  let size = limit + 1;
  let searchedTo: Date | undefined;
  let next: string | undefined;
  for (;;) {
    // One more than the page has, to know whether there is another.
    const { fitting, end, endAt } = await walk.slice(from, size, limit + 1 - ids.length);
    for (const position of fitting) {
      if (ids.length === limit) break;
      ids.push(position.id);
      from = position;
    }
    if (ids.length === limit && (fitting.length > 0 ? fitting.at(-1)!.id !== ids.at(-1) : false)) {
      next = cursorOf(from!);
      break;
    }
    if (end === undefined) break;
    from = end;
    if (performance.now() > until) {
      next = cursorOf(end);
      searchedTo = endAt;
      break;
    }
    size = Math.min(SLICE, size * 4);
  }
  const took = Math.round(performance.now() - begin);
  const tasks = await findRows(dataSource, ids);
  return { tasks, order: walk.order, took, ...(next !== undefined && { next }), ...(searchedTo && { searchedTo }) };
}

/** The first that match, at most 10,000 of them, and how many do: as far as a second goes, or else the `whole`. */
export async function firstTasks(walk: Walk, whole: boolean): Promise<{ ids: string[]; count: number; exact: boolean }> {
  const until = whole ? Number.POSITIVE_INFINITY : performance.now() + BUDGET;
  let from: Position | undefined;
  let count = 0;
  const ids: string[] = [];
  for (;;) {
    const { fitting, end } = await walk.slice(from, SLICE, SLICE);
    count += fitting.length;
    ids.push(...fitting.slice(0, COUNTED - ids.length).map(({ id }) => id));
    if (end === undefined) return { ids, count, exact: true };
    if (performance.now() > until) return { ids, count, exact: false };
    from = end;
  }
}

/** SQL: whether nothing has happened to a task since a time. @param time an expression. */
export function unchangedSince(time: string): string {
  const at = time;
  return `(task.created_at <= ${at} AND COALESCE(task.finished_at <= ${at}, true) AND COALESCE((task.history->-1->>'at')::timestamptz <= ${at}, true))`;
}

function cursorOf({ key, id }: Position): string {
  return Buffer.from(JSON.stringify([key, id])).toString('base64url');
}

function positionOf(cursor: string): Position {
  const refused = new Refused('the page to go on from cannot be read: begin the search anew');
  let read: unknown;
  try {
    read = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    // Whatever it is, it is none of ours.
    throw refused;
  }
  const [key, id] = Array.isArray(read) ? (read as unknown[]) : [];
  const isKey = key === null || (typeof key === 'string' && /^[\d\-: .+]{1,40}$/.test(key) && !Number.isNaN(Date.parse(key)));
  if (!isKey || typeof id !== 'string' || !UUID.test(id)) throw refused;
  return { key, id };
}

/** @throws Refused for a search that cannot be, with what is wrong with it. */
export function check(search: TaskSearch): void {
  for (const name of ['type', 'queue', 'error', 'group', 'requestId', 'uniqueKey'] as const) {
    const text = search[name];
    if (text === undefined) continue;
    if (typeof text !== 'string' || text.length > MOST_CHARACTERS)
      throw new Refused(`${name} is a text of at most ${MOST_CHARACTERS} characters`);
    if (text.includes('\0') || !text.isWellFormed()) throw new Refused(`${name} holds what no text in the ledger can`);
    if (text === '' && name !== 'group') throw new Refused(`${name} is empty`);
  }
  if (search.id !== undefined && !UUID.test(search.id)) throw new Refused('an id is a UUID, such as 019bf5a2-7a55-7c3a-9d51-0d2f3c6b7a10');
  if (search.state !== undefined && !(OPERATOR_STATES as readonly OperatorState[]).includes(search.state)) {
    throw new Refused(`a task is ${OPERATOR_STATES.join(', ')}`);
  }
  for (const name of ['olderThan', 'youngerThan'] as const) {
    const age = search[name];
    if (age !== undefined && !(age >= 0 && age <= 100 * 365 * 86_400_000))
      throw new Refused(`${name} is a number of milliseconds, of at most a hundred years`);
  }
}
