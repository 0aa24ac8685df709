import type { HistoryEntry, StoredOptions } from '../ledger/task-record.entity.js';

/** What JSON makes of a value of one of these types: a date is text, as ISO 8601. */
export type Json<T> = T extends Date
  ? string
  : T extends readonly (infer U)[]
    ? Json<U>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T;

/**
 * What a task is for an operator, on either dispatcher. `ready`: due, and no worker
 * runs it. `running`: a worker runs it. `delayed`: it runs at its time. `dead`:
 * buried. `completed`: done, and kept for its retention.
 */
export type OperatorState = 'ready' | 'running' | 'delayed' | 'dead' | 'completed';
export const OPERATOR_STATES = ['ready', 'running', 'delayed', 'dead', 'completed'] as const satisfies readonly OperatorState[];

/** How many there are: counted up to 10,000, beyond that what Postgres's planner takes there to be. */
export interface Count {
  count: number;
  exact: boolean;
  /** There are more than that: the planner knows of fewer than were counted. */
  more?: true;
}

/** Who acts: a name that is recorded, such as `operator` or `operator at 10.0.0.7`; at most 200 characters. */
export type Operator = string;

// --- Overview -------------------------------------------------------------------------------------------------------

/** A queue, as a card shows it. */
export interface QueueView {
  queue: string;
  /** 0: it is none of this app's queues, and tasks are in it all the same. */
  weight: number;
  paused: boolean;
  pausedAt: Date | null;
  ready: Count;
  running: Count;
  delayed: Count;
  dead: Count;
  /** Milliseconds that the oldest ready task has been due; 0 when there is none. */
  latency: number;
  /** Over the last whole minute. */
  startsPerSecond: number;
  failuresPerSecond: number;
  /** How many living workers serve it. */
  workers: number;
}

/** Something that is wrong now, in a sentence, with what it is about so that a page can lead there. */
export interface Problem {
  kind: 'no worker' | 'unserved queue' | 'paused queue with a backlog' | 'schedule missed' | 'dispatcher away';
  /** `The queue "mails" has 12 tasks, and no worker serves it.` */
  text: string;
  queue?: string;
  /** A type of periodic task. */
  schedule?: string;
}

export interface Overview {
  /** By the database's clock. What is expensive to find is kept for a few seconds, so it may be a little older than the question. */
  at: Date;
  dispatcher: 'ledger' | 'redis';
  queues: QueueView[];
  problems: Problem[];
}

/** The charts of the last hour (a point a minute) or day (a point every 15 minutes), over all queues or of one. */
export interface Series {
  /** The beginning of each span, oldest first. All arrays below are of the same length; null where nothing was recorded. */
  at: Date[];
  /** Seconds that a span lasts. */
  span: number;
  /** How many attempts began, how many tasks completed, how many attempts failed and how many tasks died, within the span. */
  started: (number | null)[];
  completed: (number | null)[];
  failed: (number | null)[];
  died: (number | null)[];
  /** Milliseconds that a first attempt waited since it was due, and that attempts ran, on average. */
  waited: (number | null)[];
  ran: (number | null)[];
  /** Gauges: the largest that was seen in the span. `latency` in milliseconds. */
  ready: (number | null)[];
  running: (number | null)[];
  delayed: (number | null)[];
  dead: (number | null)[];
  latency: (number | null)[];
}
export type SeriesRange = 'hour' | 'day';

/** Dead tasks of one type that died of what is taken to be the same error. */
export interface DeadGroup {
  type: string;
  /** The first line of the error, with ids and numbers as `…`; at most 200 characters. '' for those of a release that did not group. */
  group: string;
  count: Count;
  /** Of them, those that died within the last day. */
  lastDay: Count;
  firstAt: Date;
  lastAt: Date;
}

// --- Workers --------------------------------------------------------------------------------------------------------

export interface RunningTask {
  id: string;
  type: string;
  queue: string;
  since: Date;
}

/** A worker process that is alive, or of which nothing was heard lately. */
export interface WorkerView {
  id: number;
  host: string;
  pid: number;
  /** Of the app; null when it does not say. */
  version: string | null;
  startedAt: Date;
  /** When it was last heard of. */
  heardAt: Date;
  /** Whether its lease holds. One whose lease has run out is removed once it is known to be lost. */
  alive: boolean;
  /** The weights of the queues it serves; null for a worker of the last release, which does not say. */
  queues: Record<string, number> | null;
  /** How many tasks it runs at a time, and runs now; null for a worker of the last release. */
  slots: number | null;
  inUse: number | null;
  /** What it runs now, those first that run for the longest time; at most 100. Up to three seconds old. */
  running: RunningTask[];
}

// --- Tasks ----------------------------------------------------------------------------------------------------------

/** Which tasks an operator means. Every condition given must hold. All texts are at most 1,000 characters. */
export interface TaskSearch {
  id?: string;
  state?: OperatorState;
  type?: string;
  queue?: string;
  /** A part of the last error's text, compared without regard to case. */
  error?: string;
  /** The group of a dead task's error, the whole of it ({@link DeadGroup}). */
  group?: string;
  /** Died, completed, or else distributed, at least (at most) so many milliseconds ago. */
  olderThan?: number;
  youngerThan?: number;
  requestId?: string;
  /** The unique key that the task has, or had when it was buried. */
  uniqueKey?: string;
}

/** A task as a list shows it; never its payload. */
export interface TaskRow {
  id: string;
  type: string;
  queue: string;
  state: OperatorState;
  failures: number;
  /** Attempts that it may make. */
  maxAttempts: number;
  crashes: number;
  createdAt: Date;
  runAt: Date;
  finishedAt: Date | null;
  reason: string | null;
  error: string | null;
  /** The id of the worker that runs it, and since when; null for all others. */
  worker: number | null;
  runningSince: Date | null;
  /** What was seen of the task, to be handed to an action, which refuses when the task is no longer so. Opaque. */
  seen: string;
}

export interface SearchPage {
  tasks: TaskRow[];
  /** Where the next page begins; absent at the end. */
  next?: string;
  /** Set when the search ran out of its second before the page was full: up to when it has searched. `next` goes on from there. */
  searchedTo?: Date;
  /** In which order: dead and completed tasks by when they ended, the newest first; ready and delayed ones by when they run, the first first; any others the newest first. */
  order: 'ended' | 'runs' | 'created';
  /** How long it took to find them, in milliseconds: who asks again and again can ask the more rarely. */
  took: number;
}

/** What happened to a task, in the order in which it did; what is to come is last. */
export interface TimelineEntry {
  at: Date;
  kind:
    | 'distributed'
    | 'dispatched'
    | 'running'
    | 'failed'
    | 'crashed'
    | 'put off'
    | 'buried'
    | 'completed'
    | 'operator'
    | 'lost'
    | 'next'
    | 'other';
  /** In words. */
  what: string;
  /** Which attempt failed, from 1. */
  attempt?: number;
  error?: string;
  /** Kept of the last few attempts; without secrets, at most 2,000 characters. */
  stack?: string;
  next?: Date;
}

/** One task with its whole story, as an operator reads it: without its payload. */
export interface TaskPage extends TaskRow {
  version: number;
  options: StoredOptions;
  requestId: string | null;
  uniqueKey: string | null;
  uniqueUntil: Date | null;
  quarantined: boolean;
  generation: number;
  history: HistoryEntry[];
  timeline: TimelineEntry[];
  progress: unknown;
  result: unknown;
  keepUntil: Date | null;
  /** Whom or what it concerns: the ids in its payload, by their paths. */
  concerns: Record<string, string>;
  /** The payload's shape, with its ids and every other value replaced by what it is: `[text of 12 characters]`. */
  payloadShape: unknown;
  /** What happens next, and why, in a sentence. */
  explanation: string;
  /** Whether this app knows the type, without which a payload cannot be checked and so not be edited. */
  known: boolean;
  /** Which actions make sense now. */
  actions: TaskActionKind[];
}

// --- Actions --------------------------------------------------------------------------------------------------------

export type TaskActionKind = 'redrive' | 'delete' | 'cancel' | 'run now';
export type ActionKind =
  | TaskActionKind
  | 'reveal payload'
  | 'stop action'
  | 'pause'
  | 'resume'
  | 'move'
  | 'pause schedule'
  | 'resume schedule'
  | 'run schedule now'
  | 'delete schedule';

/** A task that an action is for, with {@link TaskRow.seen} where it was seen; without it the action takes it as it is. */
export interface Seen {
  id: string;
  seen?: string;
}

/** What came of an action on chosen tasks. */
export interface ActionResult {
  /** The record of it. */
  action: number;
  done: number;
  /** Those on which nothing was done, each with the reason in a sentence: it has changed meanwhile, or the action does not fit it. */
  refused: { id: string; why: string }[];
}

/** What a bulk action would do, and the leave to do it: to nothing that is newer than this. */
export interface Plan {
  kind: TaskActionKind;
  /** To be handed to {@link TaskAdmin.carryOut}; holds for an hour. */
  token: string;
  count: Count;
  /** Of a redrive: those whose unique key another task has, among the first 10,000. */
  skipped: number;
  /** `Redrive 3 dead tasks of the type "account.greet"` */
  text: string;
}

/** What was done by whom, and what came of it; of a bulk action also how far it is. */
export interface ActionRecord {
  id: number;
  at: Date;
  who: string;
  kind: ActionKind;
  /** In a sentence, with whatever it was for. */
  text: string;
  taskId: string | null;
  queue: string | null;
  type: string | null;
  /** Of a bulk action. */
  search: TaskSearch | null;
  /** `interrupted`: its process has ended; what it had done is done. */
  state: 'running' | 'done' | 'stopped' | 'failed' | 'interrupted';
  /** How many tasks there were to act on, as far as they were counted. */
  total: number;
  done: number;
  /** Those on which nothing was done. */
  refused: number;
  /** At most so many a second; null for as many as can be. */
  rate: number | null;
  error: string | null;
  finishedAt: Date | null;
}

/** A payload that an operator has asked to see. */
export interface RevealedPayload {
  payload: unknown;
  version: number;
  /** Whether something in it was cleaned away (secrets, addresses); then it cannot be sent back as it is. */
  cleaned: boolean;
}

// --- Schedules ------------------------------------------------------------------------------------------------------

/** What came of one tick of a schedule. */
export interface Tick {
  /** When it was due. */
  due: Date;
  /** When it was looked at. */
  at: Date;
  what: 'distributed' | 'missed' | 'run by an operator';
  /** The task that was distributed; it is in the ledger until it is done. */
  taskId: string | null;
}

export interface ScheduleView {
  type: string;
  cron: string;
  timezone: string;
  /** `every day at 03:00, Europe/Berlin` */
  words: string;
  /** Whether a living worker, or this process, declares it; only one that nobody declares can be deleted. */
  declared: boolean;
  pausedAt: Date | null;
  /** The next runs, at most five; none while it is paused. */
  next: Date[];
  /** The last ticks, the newest first; at most ten. */
  ticks: Tick[];
  /** Whether its time has passed for more than a minute without anybody having run it. */
  late: boolean;
}

// --- What can be asked and told -------------------------------------------------------------------------------------

/**
 * What the console and `make tasks` use; {@link TaskAdmin} has all of it.
 *
 * @throws Refused for what an operator asked for in vain, in a sentence that may be shown.
 * @throws DispatcherUnavailable where Redis would have to be told and does not answer; then nothing was done.
 */
export interface TaskConsole {
  overview(): Promise<Overview>;
  series(range: SeriesRange, queue?: string): Promise<Series>;
  /** The dead by type and error, those with most of the last day first; at most 200. */
  deadGroups(): Promise<DeadGroup[]>;
  workers(): Promise<WorkerView[]>;

  /** @param options.after {@link SearchPage.next} of the page before. @param options.limit at most 200; default 50. */
  search(search: TaskSearch, options?: { after?: string; limit?: number }): Promise<SearchPage>;
  /** Undefined when the ledger has none of that id: then it is done, was cancelled, or never was. */
  page(id: string): Promise<TaskPage | undefined>;
  /** Types and queues, for an operator to choose from: those that this app knows, and those of tasks that are to run or are dead; at most 200 each. */
  names(): Promise<{ types: string[]; queues: string[] }>;

  /** Shows a payload, which is recorded. */
  reveal(id: string, who: Operator): Promise<RevealedPayload>;
  /** What is wrong with an edited payload, in words; undefined when it fits. */
  checkPayload(id: string, payload: unknown): Promise<string | undefined>;
  /** Acts on up to 1,000 tasks. @param options.payload with `redrive` of one task: what to run it with. */
  act(kind: TaskActionKind, tasks: readonly Seen[], who: Operator, options?: { payload?: unknown }): Promise<ActionResult>;
  /** The dry run of an action on all that match, which `redrive` requires to be dead, `delete` dead or completed, `run now` delayed, `cancel` neither dead nor completed. */
  plan(kind: TaskActionKind, search: TaskSearch): Promise<Plan>;
  /** Begins what was planned and returns at once; the record says how far it is. @param options.rate at most so many tasks a second. */
  carryOut(token: string, who: Operator, options?: { rate?: number | undefined }): Promise<ActionRecord>;
  /** Ends a bulk action before its end. */
  /** @throws Refused when it is none that could be stopped. */
  stopAction(id: number, who: Operator): Promise<void>;
  action(id: number): Promise<ActionRecord | undefined>;
  /** The newest first. @param options.before the id of the last one of the page before. @param options.limit at most 200; default 50. */
  listActions(options?: { before?: number | undefined; limit?: number | undefined }): Promise<ActionRecord[]>;

  pause(queue: string, who: Operator): Promise<ActionRecord>;
  resume(queue: string, who: Operator): Promise<ActionRecord>;

  listSchedules(): Promise<ScheduleView[]>;
  pauseSchedule(type: string, who: Operator): Promise<ActionRecord>;
  resumeSchedule(type: string, who: Operator): Promise<ActionRecord>;
  /** The record's `taskId` is the task's that was distributed. */
  runScheduleNow(type: string, who: Operator): Promise<ActionRecord>;
  deleteSchedule(type: string, who: Operator): Promise<ActionRecord>;
}

/** An operator has asked for something that cannot be; the message says why, in a sentence that may be shown to them. */
export class Refused extends Error {
  override readonly name = 'Refused';
}
