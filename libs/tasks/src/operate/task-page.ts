import type { DataSource } from 'typeorm';
import { QueuePause, TaskRecord } from '../ledger/task-record.entity.js';
import { describeTime, idsOf } from './operator-texts.js';
import { shapeOf } from './payload-shape.js';
import { ACTIONS, findRows } from './task-rows.js';
import type { TaskPage, TaskRow, TimelineEntry } from './views.js';
import { findWorkers } from './workers.js';

/**
 * The whole story of a task; undefined when the ledger has none of that id.
 *
 * @param isKnown whether this app knows a type. @param trouble why the dispatcher takes no tasks now.
 */
export async function findPage(
  dataSource: DataSource,
  id: string,
  isKnown: (type: string) => boolean,
  trouble: () => Promise<string | undefined>,
): Promise<TaskPage | undefined> {
  // Both of one moment: between the two a task may die, and its story would be that of one that has not.
  const [record, row] = await dataSource.transaction('REPEATABLE READ', async (manager) => {
    const [row] = await findRows(manager, [id]);
    return [await manager.findOneBy(TaskRecord, { id }), row] as const;
  });
  if (!record || !row) return undefined;
  const [workers, isPaused] = await Promise.all([
    findWorkers(dataSource),
    dataSource.getRepository(QueuePause).existsBy({ queue: record.queue }),
  ]);
  const isServed = workers.some(({ alive, queues }) => alive && (queues === null || record.queue in queues));
  const { version, options, requestId, uniqueKey, uniqueUntil, quarantined, generation, history, progress, result, keepUntil } = record;
  return {
    ...row,
    version,
    options,
    requestId,
    uniqueKey: uniqueKey ?? record.releasedKey,
    uniqueUntil,
    quarantined,
    generation,
    history,
    timeline: timelineOf(record, row),
    progress,
    result,
    keepUntil,
    concerns: idsOf(record.payload),
    payloadShape: shapeOf(record.payload),
    explanation: whatIsNext(record, row, { isPaused, isServed, trouble: row.state === 'ready' ? await trouble() : undefined }),
    known: isKnown(record.type),
    actions: [...ACTIONS[row.state]],
  };
}

/** What happens next with a task, and why. */
function whatIsNext(
  record: TaskRecord,
  row: TaskRow,
  queue: { isPaused: boolean; isServed: boolean; trouble: string | undefined },
): string {
  switch (row.state) {
    case 'dead':
      return `buried: ${record.reason ?? 'unknown'}; it runs again only when it is redriven`;
    case 'completed':
      return `completed; kept until ${record.keepUntil ? describeTime(record.keepUntil) : 'it is deleted'}`;
    case 'running':
      return `a worker runs it now${row.runningSince ? `, since ${describeTime(row.runningSince)}` : ''}`;
    case 'delayed': {
      const last = record.history.at(-1);
      const isPutOff = last?.what.startsWith('put off: ') === true;
      const attempt = isPutOff
        ? `${last.what}; the next attempt`
        : record.failures > 0
          ? 'its last attempt failed; the next'
          : 'its first attempt';
      return `${attempt} is at ${describeTime(record.runAt)}${queue.isPaused ? '; its queue is paused' : ''}`;
    }
    case 'ready':
      if (queue.isPaused) return 'its queue is paused';
      if (queue.trouble !== undefined) return `the dispatcher does not answer: ${queue.trouble}`;
      if (!queue.isServed) return 'no living worker serves its queue';
      return record.quarantined ? 'its worker was lost; it waits to run alone' : 'it waits for a free slot';
  }
}

const KINDS: readonly (readonly [begin: RegExp, kind: TimelineEntry['kind']])[] = [
  [/^attempt \d+ failed$/, 'failed'],
  [/^the worker crashed$/, 'crashed'],
  [/^put off: /, 'put off'],
  [/^buried: /, 'buried'],
  [/by an operator/, 'operator'],
  [/dispatched anew|taken back|dispatcher/, 'lost'],
];

/** What happened to a task, in its order; of many events the first and the newest are kept. */
function timelineOf(record: TaskRecord, row: TaskRow): TimelineEntry[] {
  const request = record.requestId === null ? '' : ` by the request ${record.requestId}`;
  const past: TimelineEntry[] = [{ at: record.createdAt, kind: 'distributed', what: `distributed${request}` }];
  for (const { at, what, error, stack, next } of record.history) {
    const attempt = /^attempt (\d+) failed$/.exec(what)?.[1];
    past.push({
      at: new Date(at),
      kind: KINDS.find(([begin]) => begin.test(what))?.[1] ?? 'other',
      what,
      ...(attempt !== undefined && { attempt: Number(attempt) }),
      ...(error !== undefined && { error }),
      ...(stack !== undefined && { stack }),
      ...(next !== undefined && { next: new Date(next) }),
    });
  }
  if (record.dispatchedAt) past.push({ at: record.dispatchedAt, kind: 'dispatched', what: 'handed to Redis' });
  if (row.runningSince) past.push({ at: row.runningSince, kind: 'running', what: `running on the worker ${row.worker}` });
  if (record.state === 'completed' && record.finishedAt) past.push({ at: record.finishedAt, kind: 'completed', what: 'completed' });
  past.sort((a, b) => a.at.getTime() - b.at.getTime());
  if (row.state === 'delayed') past.push({ at: record.runAt, kind: 'next', what: `attempt ${record.failures + 1}` });
  if (record.state === 'completed' && record.keepUntil) past.push({ at: record.keepUntil, kind: 'next', what: 'deleted' });
  return past;
}
