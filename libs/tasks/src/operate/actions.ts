import { randomUUID } from 'node:crypto';
import { redact } from '@app/redaction';
import type { DataSource } from 'typeorm';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { validate as isUuid } from 'uuid';
import { DispatcherUnavailable } from '../dispatch/redis/answered.js';
import { InvalidTask } from '../declare/errors.js';
import { payloadJson } from '../declare/json.js';
import { TaskRecord } from '../ledger/task-record.entity.js';
import type { TaskRegistry } from '../run/registry.js';
import { ActionLog } from './action-log.js';
import type { ChangeOptions, Changes } from './changes.js';
import { inexact, inWords } from './counts.js';
import { describeTasks } from './operator-texts.js';
import { check, firstTasks, type Position, Walk } from './search.js';
import { PARTICIPLES, statesFor } from './task-rows.js';
import {
  type ActionRecord,
  type ActionResult,
  type Count,
  type Operator,
  type Plan,
  Refused,
  type RevealedPayload,
  type Seen,
  type TaskActionKind,
  type TaskSearch,
} from './views.js';

/** How many tasks are chosen one by one at most. */
const MOST_CHOSEN = 1_000;
/** After how many of them the record says how far it is. */
const ADVANCE_EACH = 50;
/** How many tasks one step of a bulk action acts on at most; how many times as many it looks at, and when few of them match, at most. */
const CHUNK = 1_000;
const LOOKED_AT = 4;
const MOST_LOOKED_AT = 20_000;
/** How many bulk actions one process carries out at once. */
const MOST_AT_ONCE = 4;
/** How long what a dry run has found may be carried out. Milliseconds. */
const PLAN_HOLDS = 3_600_000;

const VERBS: Record<TaskActionKind, string> = { redrive: 'Redrive', delete: 'Delete', cancel: 'Cancel', 'run now': 'Run now' };

/** Of all that match, the tasks that an action is for, where the search does not say their state; in SQL. */
const ONLY: Record<TaskActionKind, string> = {
  redrive: `state = 'dead'`,
  delete: `state IN ('dead', 'completed')`,
  cancel: `state IN ('pending', 'dispatched')`,
  'run now': `state IN ('pending', 'dispatched') AND run_at > now()`,
};

/** What a dry run has found, and what is carried out of it. */
interface Planned {
  kind: TaskActionKind;
  search: TaskSearch;
  /** When it was looked at, as Postgres writes a time. */
  before: string;
  total: Count;
  /** It is carried out once. */
  id: string;
}

/** What operators do with tasks, chosen ones or all that match, and what of it is recorded. */
export class Actions {
  private readonly running = new Map<number, Promise<void>>();
  private begun = 0;
  private readonly stopping = new AbortController();

  constructor(
    private readonly dataSource: DataSource,
    private readonly changes: Changes,
    private readonly log: ActionLog,
    private readonly registry: TaskRegistry,
    private readonly onChange: () => void,
  ) {}

  /** Has what this process carries out end after its step, and waits for that. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.running.values());
  }

  /** Acts on chosen tasks, each by itself. @throws Refused, InvalidTask for what cannot be asked; DispatcherUnavailable when nothing could be done. */
  async act(kind: TaskActionKind, tasks: readonly Seen[], who: Operator, { payload }: { payload?: unknown } = {}): Promise<ActionResult> {
    if (tasks.length === 0) throw new Refused('no task was chosen');
    if (tasks.length > MOST_CHOSEN) throw new Refused(`at most ${MOST_CHOSEN} tasks can be chosen; a search means as many as match it`);
    if (payload !== undefined && (kind !== 'redrive' || tasks.length > 1)) throw new Refused('a payload goes with the redrive of one task');
    const [first] = tasks;
    const isOne = tasks.length === 1;
    const text = isOne ? nameOf(kind, first!.id, payload) : `${VERBS[kind]} ${tasks.length} chosen tasks`;
    const { id: action } = await this.log.begin(kind, who, text, { total: tasks.length, ...(isOne && { taskId: first!.id }) });
    const refused: ActionResult['refused'] = [];
    let done = 0;
    try {
      for (const [index, { id, seen }] of tasks.entries()) {
        if (index % ADVANCE_EACH === ADVANCE_EACH - 1) await this.log.advance(action, done, refused.length);
        try {
          await this.changes.one(kind, id, { seen, payload });
          done += 1;
        } catch (error) {
          const isAway = error instanceof DispatcherUnavailable;
          if (isAway && done === 0 && refused.length === 0) throw error;
          if (!isAway && !isRefusal(error)) throw error;
          // Each of the others would wait for as long, and in vain.
          for (const { id } of isAway ? tasks.slice(index) : [tasks[index]!]) refused.push({ id, why: (error as Error).message });
          if (isAway) break;
        }
      }
    } catch (error) {
      // Said to the operator, too; when the database is away, the record says by its silence that the action was interrupted.
      await this.log.end(action, { state: 'failed', done, refused: refused.length, error }).catch(() => undefined);
      throw error;
    } finally {
      this.onChange();
    }
    await this.log.end(action, { done, refused: refused.length });
    return { action, done, refused };
  }

  /**
   * Acts on one task.
   *
   * @returns whether a worker runs it, which is told that it is cancelled.
   * @throws as {@link Changes.one} does.
   */
  async one(
    kind: TaskActionKind,
    id: string,
    who: Operator,
    options: { payload?: unknown; dryRun?: boolean | undefined } = {},
  ): Promise<boolean> {
    if (options.dryRun) return this.changes.one(kind, id, options);
    let isRunning = false;
    await this.log.record(kind, who, nameOf(kind, id, options.payload), { taskId: id }, async () => {
      isRunning = await this.changes.one(kind, id, options);
    });
    this.onChange();
    return isRunning;
  }

  /**
   * The dry run of an action on all that match: how many those are, and the leave to carry it out on nothing that is newer.
   *
   * @param options.whole counts all of them, for as long as that takes.
   */
  async plan(kind: TaskActionKind, given: TaskSearch, { whole = false }: { whole?: boolean } = {}): Promise<Plan> {
    const [{ before }] = await this.dataSource.query<[{ before: string }]>('SELECT now()::text AS before');
    const search = meant(kind, given);
    const walk = this.walk({ kind, search, before });
    const { ids, count: counted, exact } = await firstTasks(walk, whole);
    const count = exact ? { count: counted, exact } : inexact(counted, await walk.estimate());
    const skipped = kind === 'redrive' ? await this.changes.countKeyless(ids) : 0;
    const planned: Planned = { id: randomUUID(), kind, search, before, total: count };
    return {
      kind,
      token: Buffer.from(JSON.stringify(planned)).toString('base64url'),
      count,
      skipped,
      text: textOf(planned),
    };
  }

  /** Carries out what was planned, to its end. @param options.onProgress told how many tasks have had their turn. @throws as {@link carryOut}; Error when it failed. */
  async finish(
    token: string,
    who: Operator,
    options: { rate?: number | undefined; onProgress?: (done: number) => void } = {},
  ): Promise<ActionRecord> {
    const { id } = await this.carryOut(token, who, options);
    await this.running.get(id);
    const record = await this.log.find(id);
    if (record?.state === 'done' || record?.state === 'stopped') return record;
    throw new Error(record?.error ?? 'the action was interrupted');
  }

  /** Begins what was planned, once: whoever asks again, since the answer was lost, is given the same record. @throws Refused when the plan is too old, and while as much as can be is being carried out. */
  async carryOut(
    token: string,
    who: Operator,
    { rate, onProgress }: { rate?: number | undefined; onProgress?: (done: number) => void } = {},
  ): Promise<ActionRecord> {
    const planned = plannedOf(token);
    if (rate !== undefined && !(rate >= 0.1)) throw new Refused('a rate is a number of tasks a second, from 0.1');
    const [{ age }] = await this.dataSource.query<[{ age: number }]>(
      `SELECT (EXTRACT(epoch FROM now() - $1::timestamptz) * 1000)::float8 AS age`,
      [planned.before],
    );
    if (age > PLAN_HOLDS) throw new Refused('the dry run was more than an hour ago: do it again');
    if (this.stopping.signal.aborted) throw new Refused('this process ends: try again in a moment');
    if (this.begun >= MOST_AT_ONCE) {
      throw new Refused(`${MOST_AT_ONCE} actions on all that match are being carried out here: wait for one of them, or stop it`);
    }
    const { id: plan, kind, search, total } = planned;
    this.begun += 1;
    const target = { search, total: total.count, rate: rate ?? null, queue: search.queue ?? null, type: search.type ?? null };
    const { record, isNew } = await this.log.beginPlanned(plan, kind, who, textOf(planned), target).catch((error: unknown) => {
      this.begun -= 1;
      throw error;
    });
    if (!isNew) {
      this.begun -= 1;
      return record;
    }
    const work = this.carry(record.id, planned, rate, onProgress).finally(() => {
      this.begun -= 1;
      this.running.delete(record.id);
      this.onChange();
    });
    this.running.set(record.id, work);
    return record;
  }

  /** Shows a payload, and records that in the same transaction. */
  async reveal(id: string, who: Operator): Promise<RevealedPayload> {
    return this.dataSource.transaction(async (manager) => {
      const task = await manager.findOneBy(TaskRecord, { id });
      if (!task) throw new Refused('the task is not in the ledger any more');
      const { id: action } = await this.log.begin(
        'reveal payload',
        who,
        `Reveal the payload of the task ${id}`,
        { taskId: id, type: task.type },
        manager,
      );
      await this.log.end(action, { done: 1 }, manager);
      const payload = redact(task.payload);
      return { payload, version: task.version, cleaned: !isDeepStrictEqual(payload, task.payload) };
    });
  }

  /** What is wrong with an edited payload, in words; undefined when it fits. */
  async checkPayload(id: string, payload: unknown): Promise<string | undefined> {
    const [row] = await this.dataSource.query<{ type: string }[]>(`SELECT type FROM task WHERE id = $1`, [id]);
    if (!row) return 'the task is not in the ledger any more';
    const registered = this.registry.find(row.type);
    if (!registered) return `nothing here knows the payload of "${row.type}"`;
    try {
      await payloadJson(registered.policy, payload);
      return undefined;
    } catch (error) {
      if (error instanceof InvalidTask) return error.message;
      throw error;
    }
  }

  private walk({ kind, search, before }: Pick<Planned, 'kind' | 'search' | 'before'>): Walk {
    return new Walk(this.dataSource, search, { before, only: ONLY[kind], oldestFirst: true });
  }

  /** Carries a plan out, some tasks at a time. It never throws: what went wrong is in the record. */
  private async carry(
    action: number,
    planned: Planned,
    rate: number | undefined,
    onProgress: ((done: number) => void) | undefined,
  ): Promise<void> {
    const { kind, search, before } = planned;
    const { signal } = this.stopping;
    const chunk = rate === undefined ? CHUNK : Math.max(1, Math.min(CHUNK, Math.ceil(rate / 4)));
    const begin = performance.now();
    let [done, refused] = [0, 0];
    try {
      const walk = this.walk(planned);
      let from: Position | undefined;
      let size = LOOKED_AT * chunk;
      for (;;) {
        const { fitting, end } = await walk.slice(from, size, chunk);
        // Where few fit, more are looked at the next time.
        size = fitting.length < chunk ? Math.min(MOST_LOOKED_AT, size * 4) : LOOKED_AT * chunk;
        const ids = fitting.map(({ id }) => id);
        const changed = ids.length === 0 ? new Set() : await this.changes.atOnce(kind, ids, before);
        done += changed.size;
        for (const id of ids.filter((id) => !changed.has(id))) {
          if (signal.aborted) break;
          if (await this.didChange(kind, id, { before, state: search.state })) done += 1;
          else refused += 1;
        }
        onProgress?.(done + refused);
        const goesOn = await this.log.advance(action, done, refused);
        if (end === undefined || !goesOn) break;
        const ahead = rate === undefined ? 0 : ((done + refused) / rate) * 1_000 - (performance.now() - begin);
        // The signal ends the wait.
        if (ahead > 0) await setTimeout(ahead, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return void (await this.log.end(action, { state: 'interrupted', done, refused }));
        from = end;
      }
      await this.log.end(action, { state: signal.aborted ? 'interrupted' : 'done', done, refused });
    } catch (error) {
      // Whatever the database or Redis says. Where the record cannot be written either, its silence says that the action was interrupted.
      await this.log.end(action, { state: 'failed', done, refused, error }).catch(() => undefined);
    }
  }

  private async didChange(kind: TaskActionKind, id: string, options: ChangeOptions): Promise<boolean> {
    try {
      await this.changes.one(kind, id, options);
      return true;
    } catch (error) {
      if (isRefusal(error)) return false;
      throw error;
    }
  }
}

/** Whether a task was left as it is for a reason of its own. */
function isRefusal(error: unknown): boolean {
  return error instanceof Refused || error instanceof InvalidTask;
}

/** The search of an action on all that match: of the only state that the action fits, or of a state that it fits. */
function meant(kind: TaskActionKind, search: TaskSearch): TaskSearch {
  check(search);
  const states = statesFor(kind);
  if (search.state !== undefined && !states.includes(search.state)) {
    throw new Refused(`only what is ${states.join(' or ')} can be ${PARTICIPLES[kind]}, not what is ${search.state}`);
  }
  return states.length === 1 ? { ...search, state: states[0]! } : search;
}

function nameOf(kind: TaskActionKind, id: string, payload: unknown): string {
  return `${VERBS[kind]} the task ${id}${payload === undefined ? '' : ' with an edited payload'}`;
}

function textOf({ kind, search, total }: Planned): string {
  return `${VERBS[kind]} ${describeTasks(total.exact ? total.count : inWords(total), search)}`;
}

/** @throws Refused for what {@link Actions.plan} has not made. */
function plannedOf(token: string): Planned {
  try {
    const { id, kind, search, before, total } = JSON.parse(Buffer.from(token, 'base64url').toString()) as Planned;
    const { count, exact, more } = total;
    const isTime = /^[\d\-: .+]{1,40}$/.test(before) && !Number.isNaN(Date.parse(before));
    if (Object.hasOwn(VERBS, kind) && isTime && isUuid(id) && Number.isSafeInteger(count) && count >= 0 && count < 2 ** 31) {
      return { id, kind, search: meant(kind, search), before, total: { count, exact: exact === true, ...(more === true && { more }) } };
    }
  } catch {
    // Whatever it is, it is none of ours.
  }
  throw new Refused('the dry run cannot be read: do it again');
}
