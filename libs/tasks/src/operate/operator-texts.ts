import { isSecretName } from '@app/redaction';
import ms from 'ms';
import type { TaskRecord, TaskState } from '../ledger/task-record.entity.js';
import type { OperatorState, TaskRow, TaskSearch, TimelineEntry } from './views.js';

/** Which tasks an operator means. Every condition given must hold. */
export interface TaskFilter {
  state?: TaskState;
  type?: string;
  queue?: string;
  /** A part of the last error's text, compared without regard to case. */
  error?: string;
  /** Finished, or else committed, at least so many milliseconds ago. */
  olderThan?: number;
}

/** What can come of a cancellation, and what that means. */
export const CANCEL_RESULTS = {
  cancelled: 'the task will not run',
  'cancelled while running': 'the signal of its handler aborts, and nothing that it does in a task.transaction is kept',
  'already finished': 'the task is dead or completed: one that is finished is deleted, not cancelled',
  unknown: 'there is no such task in the ledger: it is done, was cancelled, or never was',
} as const;

export type CancelResult = keyof typeof CANCEL_RESULTS;

/** A time as operators read it, with its distance from now: `2026-11-26 00:39:18Z (3m ago)`. */
export function describeTime(time: Date, now = new Date()): string {
  const distance = Math.round((time.getTime() - now.getTime()) / 1_000) * 1_000;
  const relation = distance === 0 ? 'now' : distance > 0 ? `in ${ms(distance)}` : `${ms(-distance)} ago`;
  return `${time.toISOString().slice(0, 19).replace('T', ' ')}Z (${relation})`;
}

/** So many tasks of those that a search means: `3 dead tasks of the type "account.greet"`. @param count in words, where it was not counted to the end. */
export function describeTasks(count: number | string, search: Omit<TaskSearch, 'state'> & { state?: TaskState | OperatorState }): string {
  const { id, state, type, queue, error, group, olderThan, youngerThan, requestId, uniqueKey } = search;
  const age = 'finished, or else committed,';
  return [
    count === 0 ? 'no' : String(count),
    ...(state === undefined ? [] : [state]),
    count === 1 || count === 0 ? 'task' : 'tasks',
    ...(id === undefined ? [] : [`of the id ${id}`]),
    ...(type === undefined ? [] : [`of the type "${type}"`]),
    ...(queue === undefined ? [] : [`in the queue "${queue}"`]),
    ...(error === undefined ? [] : [`whose last error contains "${error}"`]),
    ...(group === undefined ? [] : [`that died of "${group}"`]),
    ...(olderThan === undefined ? [] : [`${age} at least ${ms(olderThan)} ago`]),
    ...(youngerThan === undefined ? [] : [`${age} within the last ${ms(youngerThan)}`]),
    ...(requestId === undefined ? [] : [`of the request "${requestId}"`]),
    ...(uniqueKey === undefined ? [] : [`with the unique key "${uniqueKey}"`]),
  ].join(' ');
}

/** When a task died, completed, or runs next. */
export function milestone({ state, finishedAt, runAt }: Pick<TaskRow, 'state' | 'finishedAt' | 'runAt'>): { what: string; at: Date } {
  if (state === 'dead') return { what: 'died at', at: finishedAt ?? runAt };
  if (state === 'completed') return { what: 'completed at', at: finishedAt ?? runAt };
  return { what: 'next run', at: runAt };
}

/** An entry of a task's story, in a line. */
export function describeEvent({ at, what, error, next }: Pick<TimelineEntry, 'at' | 'what' | 'error' | 'next'>): string {
  const cause = error === undefined ? '' : `: ${error}`;
  const then = next === undefined ? '' : `; next at ${describeTime(next)}`;
  return `${describeTime(at)} ${what}${cause}${then}`;
}

/**
 * Why a task is not running now, in a sentence.
 *
 * @param job what the dispatcher says of it; `silent` when it does not answer.
 */
export function explain(task: Omit<TaskRecord, 'payload'>, job: string | undefined, paused: boolean): string {
  if (task.state === 'dead') return `buried: ${task.reason ?? 'unknown'}; it runs again only when it is redriven`;
  if (task.state === 'completed') return `completed; kept until ${task.keepUntil ? describeTime(task.keepUntil) : 'it is deleted'}`;
  if (job === 'active') return 'a worker runs it now';
  if (paused) return 'its queue is paused';
  if (job === 'delayed') {
    return `${task.failures > 0 ? 'its last attempt failed; the next' : 'its first attempt'} is at ${describeTime(task.runAt)}`;
  }
  if (job === 'silent') return 'the dispatcher does not answer';
  if (job !== undefined && job !== 'unknown') return 'it waits for a free slot';
  return task.state === 'pending'
    ? 'committed; the relay has not dispatched it yet'
    : 'the dispatcher does not know it; it is dispatched anew within half a minute';
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Whatever an id may be made of, which no address, name or sentence is. */
export const IDENTIFIER = /^[\w.:-]{1,64}$/;
const MANY_IDS = 20;

/**
 * Whom or what a task concerns: the ids in its payload, by their paths. Those are
 * UUIDs, and what a key that ends in `Id` holds; nothing else of a payload is for
 * an operator's eyes. At most 20.
 */
export function idsOf(payload: unknown): Record<string, string> {
  const ids: [path: string, id: string][] = [];
  const look = (value: unknown, key: string, path: string) => {
    if (ids.length === MANY_IDS) return;
    if (typeof value === 'object' && value !== null) {
      for (const [inner, part] of Object.entries(value)) {
        // A key may be anybody's text, too; and what a secret's holds may be used by whoever knows it.
        if (IDENTIFIER.test(inner) && !isSecretName(inner))
          look(part, Array.isArray(value) ? key : inner, path === '' ? inner : `${path}.${inner}`);
      }
      return;
    }
    const isNamed = /(^id|Id|_id|Ids|_ids)$/.test(key) && (typeof value === 'string' || Number.isSafeInteger(value));
    const text = String(value);
    if (IDENTIFIER.test(text) && (isNamed || UUID.test(text))) ids.push([path, text]);
  };
  look(payload, '', '');
  return Object.fromEntries(ids);
}
