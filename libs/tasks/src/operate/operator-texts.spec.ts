import { describe, expect, it } from 'vitest';
import { describeEvent, describeTasks, describeTime, idsOf, milestone } from './operator-texts.js';

const now = new Date('2026-11-26T00:39:18.000Z');
const ID = '019bf5a2-7a55-7c3a-9d51-0d2f3c6b7a10';

describe('a time', () => {
  it.each([
    ['2026-11-26T00:36:18Z', '2026-11-26 00:36:18Z (3m ago)'],
    ['2026-11-26T00:39:17.900Z', '2026-11-26 00:39:17Z (now)'],
    ['2026-11-26T00:39:48Z', '2026-11-26 00:39:48Z (in 30s)'],
    ['2026-11-24T00:39:18Z', '2026-11-24 00:39:18Z (2d ago)'],
  ])('%s reads %s', (time, text) => expect(describeTime(new Date(time), now)).toBe(text));
});

describe('the tasks that a filter means', () => {
  it.each([
    [0, {}, 'no task'],
    [1, { state: 'dead' }, '1 dead task'],
    [3, { state: 'dead', type: 'account.greet', queue: 'critical' }, '3 dead tasks of the type "account.greet" in the queue "critical"'],
    [2, { error: '550', olderThan: 7_200_000 }, '2 tasks whose last error contains "550" finished, or else committed, at least 2h ago'],
  ] as const)('%i of %o', (count, filter, text) => expect(describeTasks(count, filter)).toBe(text));
});

describe('the milestone of a task', () => {
  const runAt = new Date(1);
  const finishedAt = new Date(2);
  it.each([
    ['ready', 'next run', runAt],
    ['running', 'next run', runAt],
    ['delayed', 'next run', runAt],
    ['dead', 'died at', finishedAt],
    ['completed', 'completed at', finishedAt],
  ] as const)('%s', (state, what, at) => {
    expect(milestone({ state, runAt, finishedAt: state === 'dead' || state === 'completed' ? finishedAt : null })).toEqual({ what, at });
  });
});

it('an event of the history is a line with its times in the same format', () => {
  const text = describeEvent({
    at: new Date('2020-01-01T00:00:00.000Z'),
    what: 'attempt 1 failed',
    error: 'no',
    next: new Date('2020-01-01T00:01:00.000Z'),
  });
  expect(text).toMatch(/^2020-01-01 00:00:00Z \(\d+d ago\) attempt 1 failed: no; next at 2020-01-01 00:01:00Z \(\d+d ago\)$/);
});

describe('the ids in a payload', () => {
  it.each([
    [{ userId: ID }, { userId: ID }],
    [
      { user: ID, order: { id: 7, line_id: 'a-1' } },
      { user: ID, 'order.id': '7', 'order.line_id': 'a-1' },
    ],
    [{ userIds: ['u1', 'u2'] }, { 'userIds.0': 'u1', 'userIds.1': 'u2' }],
    [{ email: 'ada@example.com', name: 'Ada', text: `see ${ID}`, paid: 'yes', amount: 7 }, {}],
    [{ userId: 'ada@example.com', accountId: 'Ada Lovelace', orderId: '\u001B[31mred', planId: null, listId: true }, {}],
    [{ 'ada@example.com': ID, resetToken: ID, passwordId: 'x', secrets: { id: ID } }, {}],
    [{ sessionId: 's1', session_id: ID, sid: ID, apiKeyId: 'k1', cookie: { id: 'c1' }, credentialId: ID, accessKeyIds: ['a'] }, {}],
    [ID, { '': ID }],
    [null, {}],
    [undefined, {}],
    ['ada@example.com', {}],
  ])('%o has %o', (payload, ids) => expect(idsOf(payload)).toEqual(ids));

  it('are a few', () => {
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`a${index}Id`, `${index}`]));
    expect(Object.keys(idsOf(many))).toHaveLength(20);
  });
});
