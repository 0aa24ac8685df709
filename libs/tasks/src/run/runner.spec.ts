import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import type { Completions } from './completions.js';
import { HookFailed, RetryIn, RevokeTask, SkipRetry, StaleAttempt } from '../declare/errors.js';
import type { Delivery, Outcome } from '../dispatch/delivery.js';
import type { DatabaseClock } from '../ledger/database-clock.js';
import type { Claim, Ledger, KeptError } from '../ledger/ledger.js';
import type { TaskRegistry } from './registry.js';
import { CRASH_BUDGET, type TaskMiddleware, TaskRunner } from './runner.js';
import type { TaskContext } from '../declare/task.js';

/** What a worker meets when it runs a delivery. */
const event = fc.constantFrom('succeed', 'fail', 'skip', 'revoke', 'snooze', 'crash', 'shutdown', 'effect', 'effect then fail');
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

/** The ledger as a model: one row, with the rules of its SQL. */
class LedgerModel {
  row: { delivery: number; crashes: number; failures: number } | undefined = { delivery: 0, crashes: 0, failures: 0 };
  effects = 0;
  burials: string[] = [];
  snoozes: string[] = [];
  /** Takes no failures, though it is there. */
  broken = false;

  async begin(claim: Claim, crashes: number): Promise<number | undefined> {
    if (!this.owns(claim)) return undefined;
    this.row!.delivery = claim.delivery;
    this.row!.crashes = Math.max(this.row!.crashes, crashes);
    return this.row!.crashes;
  }

  async deleteCompleted([claim]: Claim[]): Promise<void> {
    if (this.owns(claim!)) this.row = undefined;
  }

  async completeWith<T>(_: Claim, __: boolean, work: (manager: unknown) => Promise<T>): Promise<T> {
    const result = await work(undefined);
    this.row = undefined;
    this.effects += 1;
    return result;
  }

  async recordFailure(_: Claim, failures: number, { message: error }: KeptError, delay: number): Promise<void> {
    if (this.broken) throw new Error('a rule of the table is broken');
    refuseWhatPostgresRefuses(error, delay);
    this.row!.failures = failures;
  }

  async recordSnooze(_: Claim, reason: string, delay: number): Promise<void> {
    refuseWhatPostgresRefuses(reason, delay);
    this.snoozes.push(reason);
  }

  async bury(
    claim: Claim,
    _: number,
    reason: string,
    { message: error }: KeptError,
    onDead?: (manager: unknown) => Promise<void>,
  ): Promise<boolean> {
    refuseWhatPostgresRefuses(error, 0);
    if (!this.owns(claim)) return false;
    await onDead?.(undefined).catch((thrown: unknown) => {
      throw new HookFailed(thrown);
    });
    this.row = undefined;
    this.burials.push(reason);
    return true;
  }

  private owns(claim: Claim): boolean {
    return this.row !== undefined && this.row.delivery <= claim.delivery;
  }
}

function refuseWhatPostgresRefuses(text: unknown, delay: unknown): void {
  if (typeof text !== 'string' || text.includes('\0') || !text.isWellFormed()) throw new Error('invalid byte sequence for encoding "UTF8"');
  if (typeof delay !== 'number' || !Number.isFinite(delay) || delay < 0) throw new Error('interval out of range');
}

const clock = { now: () => Date.now() } as DatabaseClock;

function createRunner(ledger: LedgerModel, next: () => Event, onDead?: () => Promise<void>): TaskRunner {
  const handle = async (_: unknown, task: TaskContext) => {
    const now = next();
    if (now === 'fail') throw new Error('fail');
    if (now === 'skip') throw new SkipRetry('skip');
    if (now === 'revoke') throw new RevokeTask('revoke');
    if (now === 'snooze') throw new RetryIn(10);
    if (now === 'effect' || now === 'effect then fail') await task.transaction(async () => undefined);
    if (now === 'effect then fail') throw new Error('after the effect');
    if (now === 'shutdown') {
      runner.interruptAll('shutdown');
      await new Promise(() => undefined);
    }
  };
  const policy = { type: 't', payload: z.unknown(), version: 1, backoff: { type: 'fixed' as const, delay: 1 } };
  const registry = { find: () => ({ policy, handler: { handle, onDead } }) } as unknown as TaskRegistry;
  const completions = { add: (claim: Claim) => ledger.deleteCompleted([claim]) } as unknown as Completions;
  const runner = new TaskRunner(registry, ledger as unknown as Ledger, completions, clock);
  return runner;
}

// oxlint-disable-next-line unicorn/no-thenable -- what handlers may return and throw
const withThen = (then: unknown): object => ({ then });

const delivered = (rest: Partial<Delivery>): Delivery => ({
  id: 'x',
  type: 't',
  queue: 'default',
  payload: { a: 1 },
  version: 1,
  options: { maxRetry: 0, timeout: 10_000 },
  generation: 0,
  requestId: undefined,
  keep: false,
  claimedBy: undefined,
  quarantined: false,
  createdAt: new Date(0).getTime(),
  dueAt: undefined,
  number: 1,
  failures: 0,
  crashes: 0,
  ...rest,
});

describe('TaskRunner, as a state machine', () => {
  it('keeps the three budgets apart, applies effects once, and ends every task once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 40 }), fc.nat(5), async (events, maxRetry) => {
        const ledger = new LedgerModel();
        const remaining = [...events];
        const runner = createRunner(ledger, () => remaining.shift() ?? 'succeed');
        const count = { failures: 0, crashes: 0, number: 0 };
        const seen: { event: Event; outcome: Outcome['kind'] | 'crash' }[] = [];
        for (let turn = 0; turn < 60; turn++) {
          count.number += 1;
          const now = remaining[0] ?? 'succeed';
          const poisoned = count.crashes > CRASH_BUDGET;
          if (now === 'crash' && !poisoned) {
            // The worker dies in the handler: the dispatcher counts it and delivers the job again.
            remaining.shift();
            if (count.number > 1 || count.crashes > 0)
              await ledger.begin({ id: 'x', generation: 0, delivery: count.number, claimedBy: undefined }, count.crashes);
            count.crashes += 1;
            seen.push({ event: now, outcome: 'crash' });
            continue;
          }
          const delivery = delivered({
            options: { maxRetry, timeout: 10_000 },
            number: count.number,
            failures: count.failures,
            crashes: count.crashes,
          });
          const outcome = await runner.run(delivery);
          seen.push({ event: now, outcome: outcome.kind });
          if (outcome.kind === 'retry') count.failures += 1;
          if (outcome.kind === 'completed' || outcome.kind === 'buried') break;
        }
        expect(ledger.row).toBeUndefined();
        expect(seen.filter(({ outcome }) => outcome === 'retry').length).toBeLessThanOrEqual(maxRetry);
        expect(count.crashes).toBeLessThanOrEqual(CRASH_BUDGET + 1);
        expect(ledger.effects).toBeLessThanOrEqual(1);
        expect(ledger.burials.length + (seen.at(-1)!.outcome === 'completed' ? 1 : 0)).toBe(1);
        const last = seen.at(-1)!;
        if (last.outcome === 'buried' && count.crashes <= CRASH_BUDGET) {
          expect(ledger.burials[0]).toBe(last.event === 'skip' ? 'retry skipped' : 'retries exhausted');
        }
        if (count.crashes > CRASH_BUDGET) expect(ledger.burials).toEqual(['crashed its worker']);
        for (const { event: now, outcome } of seen) {
          if (now === 'shutdown' && outcome !== 'buried') expect(outcome).toBe('returned');
          if (now === 'snooze' && outcome !== 'buried') expect(outcome).toBe('snooze');
          if (now === 'effect then fail' && outcome !== 'buried') expect(outcome).toBe('completed');
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('TaskRunner, when a handler has succeeded', () => {
  it.each([
    ['on the ledger lets its slot go on', { claimedBy: 1 }, 'post'],
    [
      'from quarantine waits until the ledger has heard, since the next one may take the worker down',
      { claimedBy: 1, quarantined: true },
      'add',
    ],
    ['on Redis waits until the ledger has heard, before BullMQ does', {}, 'add'],
  ] as const)('%s', async (_, rest, expected) => {
    const told: string[] = [];
    const completions = { add: async () => void told.push('add'), post: async () => void told.push('post') } as unknown as Completions;
    const policy = { type: 't', payload: z.unknown(), version: 1 };
    const registry = { find: () => ({ policy, handler: { handle: async () => undefined } }) } as unknown as TaskRegistry;
    const runner = new TaskRunner(registry, new LedgerModel() as unknown as Ledger, completions, clock);
    expect(await runner.run(delivered(rest))).toEqual({ kind: 'completed' });
    expect(told).toEqual([expected]);
  });
});

describe('TaskRunner, whatever is thrown', () => {
  beforeAll(() => void vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined));
  beforeAll(() => void vi.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined));
  afterAll(() => vi.restoreAllMocks());

  const trap = () => {
    throw new Error('a trap');
  };
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const withGetters = (error: Error) =>
    Object.defineProperties(error, Object.fromEntries(['message', 'stack', 'cause', 'name', 'delay'].map((key) => [key, { get: trap }])));
  /** Made anew every time, since some are errors of the engine. */
  const nasty: [what: string, make: () => unknown][] = [
    ['a NUL', () => new Error('Unexpected token \0')],
    ['half a character', () => new Error('\uD83D')],
    ['a huge error', () => new Error('x'.repeat(2_000_000), { cause: new Error('y'.repeat(2_000_000)) })],
    ['a revoked proxy', () => revoked.proxy],
    ['a proxy with traps', () => new Proxy(new Error('x'), { get: trap, getPrototypeOf: trap, has: trap })],
    ['an heir of such a proxy', () => Object.create(new Proxy({}, { get: trap, getPrototypeOf: trap, has: trap }))],
    ['getters that throw', () => withGetters(new Error('x'))],
    ['RetryIn with getters that throw', () => withGetters(new RetryIn(1))],
    ['RetryIn without a delay', () => Object.assign(new RetryIn(1), { delay: Number.NaN })],
    ['RetryIn into the past', () => Object.assign(new RetryIn(1), { delay: -1 })],
    ['RetryIn for ever', () => Object.assign(new RetryIn(1), { delay: Number.POSITIVE_INFINITY })],
    ['a StaleAttempt of its own', () => new StaleAttempt('of another attempt')],
    ['a thenable', () => withThen(trap)],
    ['an error whose message cannot be written', () => Object.freeze(new Error('x'))],
    [
      'a cycle',
      () =>
        Object.assign(new Error('x'), {
          get cause() {
            return this;
          },
        }),
    ],
    ['an unreachable service, which is no database', () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
    ['an aggregate', () => new AggregateError([revoked.proxy, new Error('\0')], '')],
  ];
  const thrown = fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(...nasty.map(([, make]) => make)) },
    fc.anything({ withBigInt: true, withNullPrototype: true, withDate: true, withMap: true }).map((value) => () => value),
    fc.string({ unit: 'binary' }).map((text) => () => new Error(text)),
  );
  const place = fc.constantFrom(
    'handler',
    'handler, at once',
    'middleware, before',
    'middleware, after',
    'middleware, at once',
    'hook',
    'rule',
    'rule, later',
    'value of the rule',
    'schema',
    'schema, later',
    'transform',
    'upcast',
    'upcast, later',
  );
  type Place = typeof place extends fc.Arbitrary<infer T> ? T : never;

  /** Runs deliveries until one ends the task. */
  async function runToTheEnd(where: Place, make: () => unknown, maxRetry: number, broken = false) {
    const ledger = new LedgerModel();
    ledger.broken = broken;
    let runs = 0;
    const act = (here: Place) => {
      if (here === where) throw make();
    };
    const later = async (here: Place) => act(here);
    const handler = {
      handle: (): unknown => {
        runs += 1;
        act('handler, at once');
        if (['hook', 'rule', 'rule, later', 'value of the rule'].includes(where)) throw new Error('fail');
        return later('handler');
      },
      onDead: () => later('hook'),
    };
    const policy = {
      type: 't',
      version: where.startsWith('upcast') ? 2 : 1,
      upcast: (payload: unknown) => {
        act('upcast');
        return where === 'upcast, later' ? later('upcast, later') : payload;
      },
      payload: z
        .unknown()
        .refine(() => (act('schema'), true))
        .refine(async () => (await later('schema, later'), true))
        .transform((value) => (act('transform'), value)),
      backoff: () => {
        act('rule');
        if (where === 'rule, later') return later('rule, later') as unknown as number;
        return (where === 'value of the rule' ? make() : 1) as number;
      },
    };
    const middleware: TaskMiddleware = async (_, next) => {
      await later('middleware, before');
      const result = await next();
      await later('middleware, after');
      return result;
    };
    const atOnce = ((_, next) => {
      act('middleware, at once');
      return next();
    }) as TaskMiddleware;
    const registry = { find: () => ({ policy, handler }) } as unknown as TaskRegistry;
    const completions = { add: (claim: Claim) => ledger.deleteCompleted([claim]) } as unknown as Completions;
    const runner = new TaskRunner(registry, ledger as unknown as Ledger, completions, clock, [middleware, atOnce]);
    const outcomes: Outcome[] = [];
    for (let number = 1; number <= maxRetry + 3; number++) {
      const outcome = await runner.run(delivered({ options: { maxRetry, timeout: 10_000 }, number, failures: number - 1 }));
      outcomes.push(outcome);
      if (outcome.kind !== 'retry') break;
      expect(outcome.delay).toSatisfy(Number.isFinite);
    }
    return { ledger, outcomes, runs };
  }

  it('counts as what it is, and ends in a burial, after every attempt there is', async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listen);
    try {
      await fc.assert(
        fc.asyncProperty(place, thrown, fc.nat(3), async (where, make, maxRetry) => {
          const { ledger, outcomes } = await runToTheEnd(where, make, maxRetry);
          const atOnce = /schema|transform|upcast/.test(where);
          expect(outcomes.map(({ kind }) => kind)).toEqual([...Array.from({ length: atOnce ? 0 : maxRetry }, () => 'retry'), 'buried']);
          expect(ledger.burials).toEqual([atOnce ? 'unreadable payload' : 'retries exhausted']);
          // What BullMQ is to store of it, and the log to write.
          for (const outcome of outcomes) {
            if (outcome.kind === 'retry' || outcome.kind === 'buried') {
              expect(JSON.stringify(outcome.failure)).not.toMatch(/\\u0000|\\ud[89a-f]/);
              expect(JSON.stringify(outcome.failure).length).toBeLessThan(100_000);
            }
          }
        }),
        { numRuns: 400 },
      );
      await new Promise(setImmediate);
    } finally {
      process.off('unhandledRejection', listen);
    }
    expect(unhandled).toEqual([]);
  });

  it.each(nasty)('buries a task whose handler throws %s', async (_, make) => {
    const { ledger, outcomes, runs } = await runToTheEnd('handler', make, 2);
    expect([outcomes.map(({ kind }) => kind), ledger.burials, runs]).toEqual([['retry', 'retry', 'buried'], ['retries exhausted'], 3]);
  });

  /** What Postgres says to a statement that took too long, or that an operator has cancelled. */
  const cutShort = () => Promise.reject(Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' }));
  /** A fault that is not the task's, and says nothing of a database that is away. */
  const noTable = () => Promise.reject(Object.assign(new Error('relation "task" does not exist'), { code: '42P01' }));

  it('counts an attempt that has failed though its record was cut short, with its own words', async () => {
    const ledger = new LedgerModel();
    const texts: string[] = [];
    ledger.recordFailure = (_, __, error) => (texts.push(error.message), cutShort());
    for (let failures = 0; failures < 3; failures++) {
      const outcome = await createRunner(ledger, () => 'fail').run(delivered({ options: { maxRetry: 3, timeout: 10_000 }, failures }));
      expect(outcome).toMatchObject({ kind: 'retry', failure: { error: { message: 'fail' } }, delay: 1 });
    }
    expect(texts).toEqual(Array.from({ length: 6 }, () => 'fail'));
  });

  it.each(['fail', 'skip'] as const)('buries once more without the hook when a burial was cut short, and then waits: %s', async (what) => {
    const maxRetry = what === 'fail' ? 0 : 3;
    for (const lasting of [false, true]) {
      const ledger = new LedgerModel();
      const bury = ledger.bury.bind(ledger);
      const hooks: boolean[] = [];
      ledger.bury = (claim, failures, reason, error, onDead) => {
        hooks.push(onDead !== undefined);
        return lasting || hooks.length === 1 ? cutShort() : bury(claim, failures, reason, error, onDead);
      };
      const runner = createRunner(
        ledger,
        () => what,
        async () => undefined,
      );
      const outcome = await runner.run(delivered({ options: { maxRetry, timeout: 10_000 } }));
      expect(outcome).toMatchObject(lasting ? { kind: 'snooze' } : { kind: 'buried', failure: { error: { message: what } } });
      expect(hooks).toEqual([true, false]);
    }
  });

  it.each([
    ['cut short', cutShort],
    ['refused', noTable],
  ])('counts nothing where no attempt was made, though the ledger has %s the delivery', async (_, fail) => {
    const begin = new LedgerModel();
    begin.begin = fail;
    expect(await createRunner(begin, () => 'fail').run(delivered({ number: 2 }))).toMatchObject({ kind: 'snooze', delay: 5_000 });
    const newer = new LedgerModel();
    newer.recordSnooze = fail;
    expect(await createRunner(newer, () => 'fail').run(delivered({ version: 9 }))).toMatchObject({ kind: 'snooze', delay: 5_000 });
    expect(newer.burials).toEqual([]);
  });

  it('waits with a completion that was cut short, and with a burial of what has crashed its workers', async () => {
    const done = new LedgerModel();
    done.deleteCompleted = cutShort;
    expect(await createRunner(done, () => 'succeed').run(delivered({}))).toMatchObject({ kind: 'snooze', delay: 5_000 });
    const crashed = new LedgerModel();
    crashed.bury = noTable;
    expect(await createRunner(crashed, () => 'succeed').run(delivered({ number: 5, crashes: CRASH_BUDGET + 1 }))).toMatchObject({
      kind: 'snooze',
    });
  });

  it('counts an attempt that the ledger will not record, and waits only for a ledger that is away', async () => {
    const { outcomes, ledger } = await runToTheEnd('handler', () => new Error('x'), 2, true);
    expect(outcomes.map(({ kind }) => kind)).toEqual(['retry', 'retry', 'buried']);
    expect(ledger.burials).toEqual(['retries exhausted']);
    const away = new LedgerModel();
    away.recordFailure = () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
    expect(await createRunner(away, () => 'fail').run(delivered({ options: { maxRetry: 1, timeout: 10_000 } }))).toMatchObject({
      kind: 'snooze',
      reason: expect.stringContaining('ledger could not be written'),
    });
  });

  it('buries with words of its own, and without the hook, when nothing else can be written', async () => {
    const ledger = new LedgerModel();
    const bury = ledger.bury.bind(ledger);
    const texts: string[] = [];
    ledger.bury = (claim, failures, reason, error, onDead) => {
      texts.push(error.message);
      return texts.length < 3 ? Promise.reject(new Error('deadlock detected')) : bury(claim, failures, reason, error, onDead);
    };
    expect(await createRunner(ledger, () => 'fail').run(delivered({}))).toMatchObject({
      kind: 'buried',
      failure: { reason: 'retries exhausted' },
    });
    expect(texts).toEqual(['fail', expect.stringContaining('could not be recorded'), expect.stringContaining('could not be recorded')]);
  });
});

describe('TaskRunner and its middleware', () => {
  const run = async (middleware: TaskMiddleware, handle: () => Promise<unknown> = async () => 'result') => {
    const ledger = new LedgerModel();
    const policy = { type: 't', payload: z.unknown(), version: 1, backoff: { type: 'fixed' as const, delay: 1 } };
    const registry = { find: () => ({ policy, handler: { handle } }) } as unknown as TaskRegistry;
    const completions = { add: (claim: Claim) => ledger.deleteCompleted([claim]) } as unknown as Completions;
    const runner = new TaskRunner(registry, ledger as unknown as Ledger, completions, clock, [middleware]);
    return { outcome: await runner.run(delivered({ options: { maxRetry: 1, timeout: 10_000 } })), ledger };
  };
  const failed = (message: string) => ({ outcome: { kind: 'retry', failure: { error: { message } } } });

  it('completes no task whose handler was not called, or was called and has failed', async () => {
    expect(await run(async () => 'forgotten')).toMatchObject(failed('a middleware returned without calling next()'));
    expect(await run((() => 5) as never)).toMatchObject(failed('a middleware returned without calling next()'));
    const late = async () => {
      await new Promise(setImmediate);
      throw new Error('late');
    };
    expect(await run(async (_, next) => void next(), late)).toMatchObject(failed('late'));
    const slow: TaskMiddleware = async (_, next) => {
      void next();
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    expect(await run(slow, late)).toMatchObject(failed('late'));
    expect(await run(async (_, next) => next().catch(() => 'hidden'), late)).toMatchObject(failed('late'));
  });

  it('calls the handler once an attempt', async () => {
    const handle = vi.fn(async () => 'result');
    expect(
      await run(async (_, next) => {
        await next();
        return next();
      }, handle),
    ).toMatchObject(failed('a middleware called next() twice'));
    expect(handle).toHaveBeenCalledTimes(1);
    const completed = await run(async (_, next) => {
      void next();
      void next();
      return next().catch(() => 'all the same');
    }, handle);
    expect(completed.outcome).toEqual({ kind: 'completed' });
  });

  it('takes a thenable for a result, and what a thenable throws for an error', async () => {
    const thenable = (then: (resolve: (value: unknown) => void) => void) => (async () => withThen(then)) as () => Promise<unknown>;
    expect(
      await run(
        (_, next) => next(),
        thenable((resolve) => resolve(1)),
      ),
    ).toMatchObject({ outcome: { kind: 'completed' } });
    const broken = thenable(() => {
      throw new Error('then');
    });
    expect(await run((_, next) => next(), broken)).toMatchObject(failed('then'));
  });
});

describe('TaskRunner and what it does not know', () => {
  it('puts a task of an unknown type off, free, and says so once', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    try {
      const ledger = new LedgerModel();
      const runner = new TaskRunner(
        { find: () => undefined } as unknown as TaskRegistry,
        ledger as unknown as Ledger,
        undefined as never,
        clock,
      );
      for (let number = 1; number <= 3; number++) {
        // A worker of another release may have been lost with it: that is for one that has the handler to judge.
        expect(await runner.run(delivered({ number, crashes: 9 }))).toMatchObject({ kind: 'snooze', routine: true, delay: 60_000 });
      }
      expect(ledger.snoozes).toEqual(Array.from({ length: 3 }, () => 'no handler for the task type "t" in this worker'));
      expect(warn.mock.calls).toEqual([
        [expect.stringContaining("A handler is a provider that carries @Task, listed in the worker's module")],
      ]);
    } finally {
      warn.mockRestore();
    }
  });

  it('waits no longer for a schema than for a handler', async () => {
    const policy = { type: 't', payload: z.unknown().refine(() => new Promise(() => undefined)), version: 1 };
    const runner = new TaskRunner(
      { find: () => ({ policy, handler: {} }) } as unknown as TaskRegistry,
      new LedgerModel() as unknown as Ledger,
      undefined as never,
      clock,
    );
    const outcome = await runner.run(delivered({ options: { maxRetry: 0, timeout: 20 } }));
    expect(outcome).toMatchObject({ kind: 'buried', failure: { error: { message: 'the attempt ran into its timeout' } } });
  });

  it('says once that a backoff rule fails', async () => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
    try {
      const policy = { type: 't', payload: z.unknown(), version: 1, backoff: () => Promise.reject(new Error(String(Math.random()))) };
      const handler = { handle: () => Promise.reject(new Error('x')) };
      const runner = new TaskRunner(
        { find: () => ({ policy, handler }) } as unknown as TaskRegistry,
        new LedgerModel() as unknown as Ledger,
        undefined as never,
        clock,
      );
      for (let number = 1; number <= 3; number++) {
        const outcome = await runner.run(delivered({ number, failures: number - 1, options: { maxRetry: 9, timeout: 10_000 } }));
        expect(outcome).toMatchObject({ kind: 'retry', delay: expect.toSatisfy((delay: number) => delay >= 15_000) });
      }
      expect(warn).toHaveBeenCalledTimes(1);
    } finally {
      warn.mockRestore();
    }
  });
});
