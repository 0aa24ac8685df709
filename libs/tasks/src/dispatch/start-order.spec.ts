import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { StartOrder } from './start-order.js';

let order: StartOrder;
let begun: string;
beforeEach(() => {
  vi.useFakeTimers();
  order = new StartOrder();
  begun = '';
});
afterEach(() => void vi.useRealTimers());

/** A start that has its task at once. */
function start(name: string, turn = order.next()): void {
  const begins = order.turn(turn);
  if (begins) void begins.then(() => (begun += name));
  else begun += name;
}

/** A start that has to claim. @returns what answers it. */
function claim(name: string): () => void {
  const turn = order.next();
  const end = order.claims(turn, 25);
  return () => {
    start(name, turn);
    end();
  };
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

it('lets starts begin at once while none waits for a claim', () => {
  for (const name of 'abcd') start(name);
  expect(begun).toBe('abcd');
});

it('lets one overtake one that waits, and the others begin after it', async () => {
  const answer = claim('A');
  for (const name of 'bcde') start(name);
  await pass(20);
  expect(begun).toBe('b');
  answer();
  await pass(0);
  expect(begun).toBe('bAcde');
});

it('holds up what was claimed sooner, and nothing that was chosen before', async () => {
  const answers = ['A', 'B', 'c', 'd', 'e'].map(claim);
  // Those of one queue are answered together.
  for (const answer of answers.slice(2)) answer();
  await pass(10);
  expect(begun).toBe('c');
  answers[0]!();
  await pass(0);
  expect(begun).toBe('cA');
  answers[1]!();
  await pass(0);
  expect(begun).toBe('cABde');
});

it('holds nobody up any more for a claim that hangs, once they have waited for a moment', async () => {
  const answer = claim('A');
  for (const name of 'bcd') start(name);
  await pass(24);
  expect(begun).toBe('b');
  await pass(1);
  expect(begun).toBe('bcd');
  for (const name of 'efgh') start(name);
  expect(begun).toBe('bcdefgh');
  const next = claim('I');
  for (const name of 'jkl') start(name);
  expect(begun).toBe('bcdefghj');
  answer();
  next();
  await pass(0);
  expect(begun).toBe('bcdefghjAIkl');
});
