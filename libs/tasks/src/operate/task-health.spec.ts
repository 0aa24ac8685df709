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
  /** For how long these loops have run. Milliseconds. */
  lease?: number;
  scheduler?: number;
  claims?: number;
  isOpen?: boolean;
  failing?: string;
  trouble?: string;
  mayFetch?: boolean;
}

function healthIn({ lease, scheduler, claims, isOpen = true, failing, trouble, mayFetch = true }: Situation): TaskHealth {
  const loop = (runsFor = 0) => ({ runsFor }) as Loop;
  return new TaskHealth(
    { isOpen, failing } as TaskProcessor,
    { mayFetch: () => mayFetch, loops: { 'claims of critical': loop(claims) } } as unknown as Dispatcher,
    { trouble: () => Promise.resolve(trouble) } as DispatchControl,
    { renewing: loop(lease) } as WorkerLease,
    { asking: loop() } as Election,
    { loop: loop(scheduler) } as Scheduler,
    { removing: loop() } as Maintenance,
  );
}

it.each<[string, Situation, RegExp | undefined]>([
  ['all is well', {}, undefined],
  ['a loop waits for a database that is slow', { lease: 30_000 }, undefined],
  ['a loop hangs', { lease: 61_000 }, /^the loop "lease" has hung for more than 60 s$/],
  ['a schedule waits for as long as the app lets its statements', { scheduler: 300_000 }, undefined],
  ['the scheduler hangs', { scheduler: 601_000 }, /^the loop "scheduler" has hung for more than 600 s$/],
  ['a claim hangs', { claims: 61_000 }, /^the loop "claims of critical" has hung/],
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
