import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Completions } from './completions.js';
import { RetryIn, RevokeTask, SkipRetry } from './errors.js';
import type { Delivery, Outcome } from './job.js';
import type { Claim, Ledger } from './ledger.js';
import type { TaskRegistry } from './registry.js';
import { CRASH_BUDGET, TaskRunner } from './runner.js';
import type { TaskContext } from './task.js';

/** What a worker meets when it runs a delivery. */
const event = fc.constantFrom('succeed', 'fail', 'skip', 'revoke', 'snooze', 'crash', 'shutdown', 'effect', 'effect then fail');
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

/** The ledger as a model: one row, with the rules of its SQL. */
class LedgerModel {
  row: { delivery: number; crashes: number; failures: number } | undefined = { delivery: 0, crashes: 0, failures: 0 };
  effects = 0;
  burials: string[] = [];

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

  async recordFailure(_: Claim, failures: number): Promise<void> {
    this.row!.failures = failures;
  }

  async recordSnooze(): Promise<void> {}

  async bury(claim: Claim, _: number, reason: string): Promise<boolean> {
    if (!this.owns(claim)) return false;
    this.row = undefined;
    this.burials.push(reason);
    return true;
  }

  private owns(claim: Claim): boolean {
    return this.row !== undefined && this.row.delivery <= claim.delivery;
  }
}

function createRunner(ledger: LedgerModel, next: () => Event): TaskRunner {
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
  const registry = { find: () => ({ policy, handler: { handle } }) } as unknown as TaskRegistry;
  const completions = { add: (claim: Claim) => ledger.deleteCompleted([claim]) } as unknown as Completions;
  const runner = new TaskRunner(registry, ledger as unknown as Ledger, completions);
  return runner;
}

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
              await ledger.begin({ id: 'x', generation: 0, delivery: count.number }, count.crashes);
            count.crashes += 1;
            seen.push({ event: now, outcome: 'crash' });
            continue;
          }
          const delivery: Delivery = {
            id: 'x',
            type: 't',
            queue: 'default',
            payload: {},
            version: 1,
            options: { maxRetry, timeout: 10_000 },
            generation: 0,
            requestId: undefined,
            keep: false,
            createdAt: new Date(0).getTime(),
            number: count.number,
            failures: count.failures,
            crashes: count.crashes,
          };
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
