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
function start(name: string): void {
  const begins = order.turn(order.next());
  if (begins) void begins.then(() => (begun += name));
  else begun += name;
}

/** A start that has to claim. @returns it, as its claim is answered. */
function claim(name: string, patience = 25, turn = order.next()) {
  order.claims(turn, patience);
  const begins = Promise.withResolvers<void>();
  void begins.promise.then(() => (begun += name));
  return { ...turn, begin: begins.resolve };
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

it('lets starts begin at once while none waits for a claim', () => {
  for (const name of 'abcd') start(name);
  expect(begun).toBe('abcd');
});

it('lets one overtake one that waits, and the others begin after it', async () => {
  const first = claim('A');
  for (const name of 'bcde') start(name);
  await pass(20);
  expect(begun).toBe('b');
  order.answered([first]);
  await pass(0);
  expect(begun).toBe('bAcde');
});

it('lets those that are answered together begin in order, and between them those that waited', async () => {
  const first = claim('A');
  start('b');
  start('c');
  const second = claim('D');
  start('e');
  const third = claim('F');
  start('g');
  order.answered([first, second]);
  await pass(0);
  expect(begun).toBe('bAcDeg');
  order.answered([third]);
  await pass(0);
  expect(begun).toBe('bAcDegF');
});

it('holds up what was claimed sooner, and nothing that was chosen before', async () => {
  const starts = ['A', 'B', 'c', 'd', 'e'].map((name) => claim(name));
  order.answered(starts.slice(2));
  await pass(10);
  expect(begun).toBe('c');
  order.answered([starts[0]!]);
  await pass(0);
  expect(begun).toBe('cA');
  order.answered([starts[1]!]);
  await pass(0);
  expect(begun).toBe('cABde');
});

it('holds nobody up any more for a claim that hangs, once they have waited for a moment', async () => {
  const hanging = claim('A');
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
  order.answered([hanging]);
  order.answered([next]);
  await pass(0);
  expect(begun).toBe('bcdefghjAIkl');
});

it('waits for a claim by its own patience, also when one that had more was answered before it', async () => {
  const first = claim('A', 250);
  claim('B');
  for (const name of 'cde') start(name);
  await pass(10);
  order.answered([first]);
  await pass(14);
  expect(begun).toBe('cA');
  await pass(1);
  expect(begun).toBe('cAde');
});

it('counts the patience from the turn on', async () => {
  const turn = order.next();
  await pass(20);
  claim('A', 25, turn);
  for (const name of 'bc') start(name);
  await pass(4);
  expect(begun).toBe('b');
  await pass(1);
  expect(begun).toBe('bc');
});

it('begins a start behind those that wait, also when the time for which they did is just over', async () => {
  claim('A');
  for (const name of 'bcd') start(name);
  const now = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 26);
  start('e');
  now.mockRestore();
  await pass(0);
  expect(begun).toBe('bcde');
});
