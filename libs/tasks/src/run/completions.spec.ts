import { describe, expect, it, vi } from 'vitest';
import type { Claim, Ledger } from '../ledger/ledger.js';
import type { TaskLogger } from '../task-logger.js';
import { Completions } from './completions.js';

/** A ledger that answers when the test says so. */
class SlowLedger {
  readonly batches: { ids: string[]; answer: PromiseWithResolvers<void> }[] = [];

  deleteCompleted(claims: readonly Claim[]): Promise<void> {
    const answer = Promise.withResolvers<void>();
    this.batches.push({ ids: claims.map(({ id }) => id), answer });
    return answer.promise;
  }
}

const claim = (id: string): Claim => ({ id, generation: 0, delivery: 1, claimedBy: 1 });
const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

function create() {
  const ledger = new SlowLedger();
  const completions = new Completions(ledger as unknown as Ledger, { trouble: () => undefined } as unknown as TaskLogger);
  const settled: string[] = [];
  const note = (id: string, work: Promise<void>) => void work.then(() => settled.push(id));
  return { ledger, completions, settled, note };
}

describe('completions', () => {
  it('lets a slot go on before the ledger has heard, and says when it has', async () => {
    const { ledger, completions, settled, note } = create();
    note('posted', completions.post(claim('a')));
    note('added', completions.add(claim('b')));
    note('recorded', completions.recorded());
    await turn();
    expect([settled, completions.unrecorded, ledger.batches[0]!.ids]).toEqual([['posted'], 1, ['a', 'b']]);
    ledger.batches[0]!.answer.resolve();
    await turn();
    expect([settled, completions.unrecorded]).toEqual([['posted', 'added', 'recorded'], 0]);
  });

  it('gathers what comes while a statement is under way into the next one', async () => {
    const { ledger, completions } = create();
    void completions.post(claim('first'));
    await turn();
    for (const id of ['a', 'b', 'c']) void completions.post(claim(id));
    await turn();
    expect(ledger.batches).toHaveLength(1);
    ledger.batches[0]!.answer.resolve();
    await turn();
    expect(ledger.batches.map(({ ids }) => ids)).toEqual([['first'], ['a', 'b', 'c']]);
  });

  it('lets no more than a thousand wait: whoever comes then waits for its own', async () => {
    const { ledger, completions, settled, note } = create();
    for (let count = 0; count <= 1_000; count++) note(String(count), completions.post(claim(String(count))));
    await turn();
    expect([settled.length, completions.unrecorded]).toEqual([1_000, 1_001]);
    ledger.batches[0]!.answer.resolve();
    await turn();
    expect([settled.at(-1), completions.unrecorded]).toEqual(['1000', 0]);
  });

  it('insists while the ledger refuses, until the engine has ended', async () => {
    const { ledger, completions, settled, note } = create();
    note('posted', completions.post(claim('a')));
    note('recorded', completions.recorded());
    await turn();
    ledger.batches[0]!.answer.reject(new Error('away'));
    await vi.waitFor(() => expect(ledger.batches).toHaveLength(2), 5_000);
    expect([settled, completions.unrecorded]).toEqual([['posted'], 1]);
    completions.onApplicationShutdown();
    ledger.batches[1]!.answer.reject(new Error('closed'));
    await vi.waitFor(() => expect(settled).toEqual(['posted', 'recorded']), 5_000);
    expect(ledger.batches).toHaveLength(2);
  });
});
