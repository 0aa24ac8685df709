import type { TaskConsole } from '@app/tasks';
import { OPERATOR_STATES } from '@app/tasks';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Commands, Queries } from './api.js';
import { Refusal } from './refusal.js';
import type { Session } from './sessions.js';

const text = z
  .string()
  .min(1)
  .max(1_000)
  .refine((value) => !value.includes('\0') && value.isWellFormed(), { message: 'holds what no text in the ledger can' });
const id = z.uuid();
const number = z.int().min(0);
const nothing = z.strictObject({});
const ofType = z.strictObject({ type: text });
const ofQueue = z.strictObject({ queue: text });
const kind = z.enum(['redrive', 'delete', 'cancel', 'run now']);

const search = z.strictObject({
  // Whatever an operator has pasted: what is no id is found nowhere.
  id: text.optional(),
  state: z.enum(OPERATOR_STATES).optional(),
  type: text.optional(),
  queue: text.optional(),
  error: text.optional(),
  group: z.string().max(1_000).optional(),
  olderThan: z.number().min(0).optional(),
  youngerThan: z.number().min(0).optional(),
  requestId: text.optional(),
  uniqueKey: text.optional(),
});

/** What can be asked, or told, with what, and how it is answered. */
interface Route<Input, Answer> {
  readonly input: z.ZodType<Input>;
  readonly answer: (input: Input, who: string) => Answer | Promise<Answer>;
}
type Routes<Calls extends Record<keyof Calls, { input: unknown; answer: unknown }>> = {
  readonly [Name in keyof Calls]: Route<Calls[Name]['input'], Calls[Name]['answer']>;
};

/** How long an answer is given to whoever else asks the same: many pages may be open. Milliseconds. */
const SHARED_FOR = 1_000;
const MANY_QUESTIONS = 200;

/** Answers the page: each question and command goes to the engine once its input is known to be one. */
export class ConsoleApi {
  private readonly queries: Routes<Queries>;
  private readonly commands: Routes<Commands>;
  private readonly shared = new LRUCache<string, object, () => Promise<unknown>>({
    max: MANY_QUESTIONS,
    ttl: SHARED_FOR,
    // Who has asked before a command is still answered.
    ignoreFetchAbort: true,
    fetchMethod: async (_key, _stale, { context }) => ({ answer: await context() }),
  });

  constructor(
    tasks: TaskConsole,
    private readonly readOnly: boolean,
  ) {
    this.queries = {
      session: {
        input: nothing,
        answer: (_, who) => ({ who, readOnly }),
      },
      overview: { input: nothing, answer: () => tasks.overview() },
      series: {
        input: z.strictObject({ range: z.enum(['hour', 'day']), queue: text.optional() }),
        answer: ({ range, queue }) => tasks.series(range, queue),
      },
      deadGroups: { input: nothing, answer: () => tasks.deadGroups() },
      workers: { input: nothing, answer: () => tasks.workers() },
      names: { input: nothing, answer: () => tasks.names() },
      search: {
        input: z.strictObject({ search, after: text.optional() }),
        answer: ({ search, after }) => tasks.search(search, { after }),
      },
      // Whatever stands in the address: what is no id is found nowhere.
      task: {
        input: z.strictObject({ id: text }),
        answer: async ({ id: given }) => (id.safeParse(given).success ? ((await tasks.page(given)) ?? null) : null),
      },
      schedules: { input: nothing, answer: () => tasks.listSchedules() },
      action: { input: z.strictObject({ id: number }), answer: async ({ id }) => (await tasks.action(id)) ?? null },
      actions: { input: z.strictObject({ before: number.optional() }), answer: ({ before }) => tasks.listActions({ before }) },
    };
    this.commands = {
      act: {
        input: z.strictObject({
          kind,
          tasks: z.array(z.strictObject({ id, seen: text.optional() })).max(1_000),
          payload: z.unknown().optional(),
        }),
        answer: ({ kind, tasks: chosen, payload }, who) => tasks.act(kind, chosen, who, payload === undefined ? {} : { payload }),
      },
      plan: { input: z.strictObject({ kind, search }), answer: ({ kind, search }) => tasks.plan(kind, search) },
      carryOut: {
        // It holds the search.
        input: z.strictObject({ token: z.string().min(1).max(64_000), rate: z.number().min(0.1).max(100_000).optional() }),
        answer: ({ token, rate }, who) => tasks.carryOut(token, who, { rate }),
      },
      stopAction: {
        input: z.strictObject({ id: number }),
        answer: async ({ id }, who) => {
          await tasks.stopAction(id, who);
          return {};
        },
      },
      reveal: { input: z.strictObject({ id }), answer: ({ id }, who) => tasks.reveal(id, who) },
      checkPayload: {
        input: z.strictObject({ id, payload: z.unknown() }),
        answer: async ({ id, payload }) => ({ problem: (await tasks.checkPayload(id, payload)) ?? null }),
      },
      pauseQueue: { input: ofQueue, answer: ({ queue }, who) => tasks.pause(queue, who) },
      resumeQueue: { input: ofQueue, answer: ({ queue }, who) => tasks.resume(queue, who) },
      pauseSchedule: { input: ofType, answer: ({ type }, who) => tasks.pauseSchedule(type, who) },
      resumeSchedule: { input: ofType, answer: ({ type }, who) => tasks.resumeSchedule(type, who) },
      runScheduleNow: { input: ofType, answer: ({ type }, who) => tasks.runScheduleNow(type, who) },
      deleteSchedule: { input: ofType, answer: ({ type }, who) => tasks.deleteSchedule(type, who) },
    };
  }

  /** Answers a question. @throws Refusal for one that is none. */
  async ask(name: string, input: unknown, { who }: Session): Promise<unknown> {
    const route = routeOf(this.queries, name);
    const given = route.input.parse(input);
    const { answer } = (await this.shared.forceFetch(JSON.stringify([name, given, who]), {
      context: async () => route.answer(given, who),
    })) as { answer: unknown };
    return answer;
  }

  /** Does what an operator says. @throws Refusal for what is no command, and for all where the console is read-only. */
  async command(name: string, input: unknown, { who }: Session): Promise<unknown> {
    const route = routeOf(this.commands, name);
    if (this.readOnly) throw new Refusal(403, 'this console is read-only');
    const given = route.input.parse(input);
    try {
      return await route.answer(given, who);
    } finally {
      // Whoever looks now sees what came of it.
      this.shared.clear();
    }
  }
}

function routeOf(routes: object, name: string): Route<unknown, unknown> {
  if (!Object.hasOwn(routes, name)) throw new Refusal(404, 'there is no such call');
  return (routes as Record<string, Route<unknown, unknown>>)[name]!;
}
