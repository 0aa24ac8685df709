import type {
  ActionRecord,
  ActionResult,
  DeadGroup,
  Json,
  Overview,
  Plan,
  RevealedPayload,
  ScheduleView,
  SearchPage,
  Seen,
  Series,
  SeriesRange,
  TaskActionKind,
  TaskPage,
  TaskSearch,
  WorkerView,
} from '@app/tasks';

/** What JSON makes of an answer. */
export type Wire<Answer> = Json<Answer>;

/** Nothing is said with the question. */
export type Nothing = Record<never, never>;

/** Who looks at the page, and what they may do there. */
export interface SessionView {
  who: string;
  readOnly: boolean;
}

/** What the page asks for, by GET `/api/<name>?input=<JSON>`. */
export interface Queries {
  session: { input: Nothing; answer: SessionView };
  overview: { input: Nothing; answer: Overview };
  series: { input: { range: SeriesRange; queue?: string }; answer: Series };
  deadGroups: { input: Nothing; answer: DeadGroup[] };
  workers: { input: Nothing; answer: WorkerView[] };
  names: { input: Nothing; answer: { types: string[]; queues: string[] } };
  search: { input: { search: TaskSearch; after?: string }; answer: SearchPage };
  /** Null when the ledger has no such task. */
  task: { input: { id: string }; answer: TaskPage | null };
  schedules: { input: Nothing; answer: ScheduleView[] };
  /** Null when it is no more kept. */
  action: { input: { id: number }; answer: ActionRecord | null };
  actions: { input: { before?: number }; answer: ActionRecord[] };
}

/** What the page has done, by POST `/api/<name>`; all of it is refused where the console is read-only. */
export interface Commands {
  act: { input: { kind: TaskActionKind; tasks: Seen[]; payload?: unknown }; answer: ActionResult };
  plan: { input: { kind: TaskActionKind; search: TaskSearch }; answer: Plan };
  carryOut: { input: { token: string; rate?: number }; answer: ActionRecord };
  stopAction: { input: { id: number }; answer: Nothing };
  reveal: { input: { id: string }; answer: RevealedPayload };
  /** What is wrong with it; null when it fits. */
  checkPayload: { input: { id: string; payload: unknown }; answer: { problem: string | null } };
  pauseQueue: { input: { queue: string }; answer: ActionRecord };
  resumeQueue: { input: { queue: string }; answer: ActionRecord };
  pauseSchedule: { input: { type: string }; answer: ActionRecord };
  resumeSchedule: { input: { type: string }; answer: ActionRecord };
  runScheduleNow: { input: { type: string }; answer: ActionRecord };
  deleteSchedule: { input: { type: string }; answer: ActionRecord };
}
