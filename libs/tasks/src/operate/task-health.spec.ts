import { expect, it } from 'vitest';
import type { DispatchControl } from '../dispatch/dispatch-control.js';
import type { Dispatcher } from '../dispatch/dispatcher.js';
import type { Election } from '../ledger/election.js';
import type { WorkerLease } from '../ledger/worker-lease.js';
import type { Loop } from '../loop.js';
import type { TaskProcessor } from '../run/task-processor.js';
import type { Maintenance } from './maintenance.js';
import type { Scheduler } from './scheduler.js';
import { TaskHealth } from './task-health.js';

interface Situation {
  /** For how long the lease's loop has run, and a queue was asked. Milliseconds. */
  leaseRunsFor?: number;
  askedFor?: number;
  isOpen?: boolean;
  failing?: string;
  trouble?: string;
  mayFetch?: boolean;
}

function healthIn({ leaseRunsFor = 0, askedFor = 0, isOpen = true, failing, trouble, mayFetch = true }: Situation): TaskHealth {
  const loop = (runsFor = 0) => ({ runsFor }) as Loop;
  return new TaskHealth(
    { isOpen, failing, hungFor: (patience: number) => (askedFor > patience ? 'critical' : undefined) } as TaskProcessor,
    { mayFetch: () => mayFetch } as Dispatcher,
    { trouble: () => Promise.resolve(trouble) } as DispatchControl,
    { renewing: loop(leaseRunsFor) } as WorkerLease,
    { asking: loop() } as Election,
    { loop: loop() } as Scheduler,
    { removing: loop() } as Maintenance,
  );
}

it.each<[string, Situation, RegExp | undefined]>([
  ['all is well', {}, undefined],
  ['a loop waits for a database that is slow', { leaseRunsFor: 30_000 }, undefined],
  ['a loop hangs', { leaseRunsFor: 61_000 }, /^the loop "lease" has hung for more than 60 s$/],
  ['an empty queue is waited for', { askedFor: 10_000 }, undefined],
  ['a queue never answers', { askedFor: 61_000 }, /^the queue "critical" was asked/],
  ['Redis is away', { trouble: 'Redis does not take tasks.' }, undefined],
])('when %s, the process hangs or not', (_what, situation, expected) => {
  const reason = healthIn(situation).hung();
  if (expected === undefined) expect(reason).toBeUndefined();
  else expect(reason).toMatch(expected);
});

it.each<[string, Situation, RegExp | undefined]>([
  ['all is well', {}, undefined],
  ['it is starting, or ends', { isOpen: false }, /^the worker has not begun/],
  ['Redis is away', { trouble: 'Redis does not take tasks.' }, /^Redis does not take tasks/],
  ['the clock is off', { mayFetch: false }, /^the clock of this machine/],
  ['claims fail', { failing: 'default' }, /^no task can be taken from the queue "default"/],
])('when %s, it takes tasks or says why not', async (_what, situation, expected) => {
  const reason = await healthIn(situation).idleBecause();
  if (expected === undefined) expect(reason).toBeUndefined();
  else expect(reason).toMatch(expected);
});
