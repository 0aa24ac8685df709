import type { DataSource, EntityManager } from 'typeorm';
import { OPERATOR_STATES, type OperatorState, Refused, type TaskActionKind, type TaskRow } from './views.js';
import { RUNNING } from './workers.js';

/** SQL of the table `running`, for what is built on {@link STATE}. */
export const WITH_RUNNING = `running AS MATERIALIZED (${RUNNING})`;

/** The worker that runs a task, as a condition on `running`: what has failed since its worker said so last runs no more. */
export const IS_RUN = `running.id = task.id AND task.state IN ('pending', 'dispatched') AND task.run_at <= now()
  AND (task.state = 'dispatched' OR task.claimed_by = running.worker)`;

/** SQL of a task's state as operators see it. */
export const STATE = `CASE WHEN task.state IN ('dead', 'completed') THEN task.state WHEN task.run_at > now() THEN 'delayed'
  WHEN EXISTS (SELECT FROM running WHERE ${IS_RUN}) THEN 'running' ELSE 'ready' END`;

type Raw = Omit<TaskRow, 'seen'> & { generation: number };

/** The tasks of these ids, as a list shows them, in the order of the ids; without those that are not there. */
export async function findRows(source: DataSource | EntityManager, ids: readonly string[]): Promise<TaskRow[]> {
  if (ids.length === 0) return [];
  const rows = await source.query<Raw[]>(
    `WITH ${WITH_RUNNING}
     SELECT task.id, type, queue, ${STATE} AS state, failures, COALESCE((options->>'maxRetry')::int, 0) + 1 AS "maxAttempts", crashes, generation,
            created_at AS "createdAt", run_at AS "runAt", finished_at AS "finishedAt", reason, error,
            run.worker, run.since AS "runningSince"
     FROM task LEFT JOIN LATERAL (SELECT worker, since FROM running WHERE ${IS_RUN} LIMIT 1) AS run ON true
     WHERE task.id = ANY($1::uuid[])`,
    [ids],
  );
  const byId = new Map(rows.map(({ generation, ...row }) => [row.id, { ...row, seen: seenOf({ ...row, generation }) }]));
  return ids.map((id) => byId.get(id)).filter((row) => row !== undefined);
}

type Visible = Pick<TaskRow, 'state' | 'failures' | 'crashes' | 'queue'> & { generation: number };

/** What an operator has seen of a task: whatever makes an action on it another one. */
export function seenOf({ state, generation, failures, crashes, queue }: Visible): string {
  return [state, generation, failures, crashes, queue].join(':');
}

const SEEN = /^(ready|running|delayed|dead|completed):(\d{1,10}):(\d{1,10}):(\d{1,10}):(.+)$/s;

/**
 * What has changed of a task since it was seen, in a sentence; undefined when nothing has.
 *
 * @throws Refused for what {@link seenOf} has not made.
 */
export function changeSince(seen: string, now: string): string | undefined {
  if (seen === now) return undefined;
  const read = (text: string) => {
    const [, state, generation, failures, crashes, queue] = SEEN.exec(text) ?? [];
    if (state === undefined) throw new Refused('what was seen of the task cannot be read: look at it again');
    return { state, generation: Number(generation), failures: Number(failures), crashes: Number(crashes), queue };
  };
  const [before, after] = [read(seen), read(now)];
  const changes: string[] = [];
  if (after.generation !== before.generation && before.state === 'dead') changes.push('it was brought back');
  if (after.state !== before.state) changes.push(`it was ${before.state} and is ${after.state} now`);
  if (after.failures > before.failures) changes.push('an attempt has failed');
  if (after.crashes > before.crashes) changes.push('its worker has crashed');
  if (after.queue !== before.queue) changes.push(`it is in the queue "${after.queue}" now`);
  if (changes.length === 0) changes.push('it has been dispatched anew');
  return `it has changed since it was seen: ${changes.join(', ')}`;
}

/** Which actions fit a task in a state. */
export const ACTIONS: Record<OperatorState, readonly TaskActionKind[]> = {
  ready: ['cancel'],
  running: ['cancel'],
  delayed: ['run now', 'cancel'],
  dead: ['redrive', 'delete'],
  completed: ['delete'],
};

/** What an action is called once it is done. */
export const PARTICIPLES: Record<TaskActionKind, string> = {
  redrive: 'redriven',
  delete: 'deleted',
  cancel: 'cancelled',
  'run now': 'told to run now',
};

/** The states that an action fits. */
export function statesFor(kind: TaskActionKind): OperatorState[] {
  return OPERATOR_STATES.filter((state) => ACTIONS[state].includes(kind));
}

/** Why an action does not fit: `it is delayed, and only what is dead can be redriven`. */
export function unfit(kind: TaskActionKind, state: OperatorState): string {
  return `it is ${state}, and only what is ${statesFor(kind).join(' or ')} can be ${PARTICIPLES[kind]}`;
}
