import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Violation } from './checker.ts';
import type { Random } from './random.ts';
import type { Context, Result } from './run.ts';
import { type Dispatcher, System, type Work } from './system.ts';

/** Where a process can be made to fail, and the work that passes there. */
const POINTS: readonly {
  readonly point: string;
  readonly process: 'front' | 'worker-1';
  readonly work: Work;
  /** The only one that passes there. */
  readonly dispatcher?: Dispatcher;
}[] = [
  { point: 'signup.after-insert', process: 'front', work: 'sign-ups' },
  { point: 'signup.before-commit', process: 'front', work: 'sign-ups' },
  { point: 'signup.after-commit', process: 'front', work: 'sign-ups' },
  { point: 'relay.after-claim', process: 'worker-1', work: 'sign-ups', dispatcher: 'redis' },
  { point: 'relay.after-add', process: 'worker-1', work: 'sign-ups', dispatcher: 'redis' },
  { point: 'relay.before-mark', process: 'worker-1', work: 'sign-ups', dispatcher: 'redis' },
  { point: 'claims.after-claim', process: 'worker-1', work: 'sign-ups', dispatcher: 'postgres' },
  { point: 'claims.in-buffer', process: 'worker-1', work: 'orders', dispatcher: 'postgres' },
  { point: 'lease.before-renewal', process: 'worker-1', work: 'orders', dispatcher: 'postgres' },
  { point: 'worker.after-fetch', process: 'worker-1', work: 'sign-ups' },
  { point: 'worker.in-handler', process: 'worker-1', work: 'orders' },
  { point: 'effect.before-commit', process: 'worker-1', work: 'orders' },
  { point: 'effect.after-commit', process: 'worker-1', work: 'orders' },
  { point: 'mail.before-send', process: 'worker-1', work: 'sign-ups' },
  { point: 'mail.after-accepted', process: 'worker-1', work: 'sign-ups' },
  { point: 'worker.before-completion', process: 'worker-1', work: 'orders' },
  { point: 'worker.after-completion', process: 'worker-1', work: 'orders' },
  { point: 'worker.during-shutdown', process: 'worker-1', work: 'sign-ups' },
];

const SIGNALS = ['kill', 'term', 'stop'] as const;
type SignalName = (typeof SIGNALS)[number];

/** Longer than the lock of a task, which is 15 s. Milliseconds. */
const STOP_TIME = 17_000;
/** Points that may be passed once only, or seldom. */
const dispatching = /^(relay|claims)\./;
/** How long a restart takes where something watches over the processes. */
const RESTART_PAUSE = 500;
/** By then the point must have been reached. */
const REACH_PATIENCE = 20_000;

export interface Cell {
  readonly point: string;
  readonly signal: SignalName;
  readonly workers: number;
  readonly dispatcher: Dispatcher;
}

/** Every combination, or in the short version some points and signals, with the rest drawn by the seed. */
export function cells(dispatchers: readonly Dispatcher[], short: boolean, random: Random): Cell[] {
  const all = POINTS.flatMap(({ point }) =>
    SIGNALS.flatMap((signal) =>
      [1, 3].flatMap((workers) => dispatchersOf(point, dispatchers).map((dispatcher) => ({ point, signal, workers, dispatcher }))),
    ),
  );
  if (!short) return all;
  return SHORT.flatMap(([point, signal]) => {
    const possible = dispatchersOf(point, dispatchers);
    return possible.length === 0 ? [] : [{ point, signal, workers: random.pick([1, 1, 3]), dispatcher: random.pick(possible) }];
  });
}

function dispatchersOf(point: string, dispatchers: readonly Dispatcher[]): readonly Dispatcher[] {
  const only = POINTS.find((entry) => entry.point === point)!.dispatcher;
  return dispatchers.filter((dispatcher) => only === undefined || dispatcher === only);
}

/** Both sides of every commit, and each signal. */
const SHORT: readonly (readonly [string, SignalName])[] = [
  ['worker.in-handler', 'stop'],
  ['mail.after-accepted', 'stop'],
  ['signup.before-commit', 'kill'],
  ['signup.after-commit', 'kill'],
  ['relay.after-claim', 'term'],
  ['relay.after-add', 'kill'],
  ['relay.before-mark', 'kill'],
  ['claims.after-claim', 'kill'],
  ['claims.in-buffer', 'kill'],
  ['effect.before-commit', 'kill'],
  ['effect.after-commit', 'kill'],
  ['worker.after-completion', 'kill'],
  ['worker.during-shutdown', 'kill'],
];

/** Runs one cell: load until the point has struck, the signal's consequences, and the judgement. */
export async function runCell(cell: Cell, context: Context): Promise<Result> {
  const { point, signal, workers, dispatcher } = cell;
  const { process: target, work } = POINTS.find((entry) => entry.point === point)!;
  const name = `${point}:${signal} ${workers}w ${dispatcher}`;
  const random = context.random.fork(name);
  const system = await System.open({
    name: `kill ${name}`,
    work,
    workers,
    dispatcher,
    postgres: context.postgres,
    redis: context.redis,
  });
  try {
    // Enough at once for the point to be passed in the middle of something.
    system.mail.delay = 150;
    const pass = passOf(point, random);
    await system.start({ [target]: `${point}:${signal}@${pass}` });
    const app = target === 'front' ? system.front : system.workers[0]!;
    const deadline = Date.now() + REACH_PATIENCE;
    const violations: Violation[] = [];
    let over = false;
    // A burst for the point to be reached in, then a trickle for as long as the fault lasts. A renewal comes by the clock.
    const isBurst = (count: number) => (point === 'lease.before-renewal' ? !app.struck : count < 12);
    const load = system.load(
      () => over,
      3,
      (count) => (isBurst(count) ? 30 : 900),
    );
    if (point === 'worker.during-shutdown') {
      await sleep(random.between(300, 900));
      app.signal('SIGTERM');
    }
    // Tasks are claimed ahead where many are begun one after the other.
    if (point === 'claims.in-buffer')
      await system.placeOrders(
        Array.from({ length: 400 }, () => randomUUID()),
        'keyed',
        false,
      );
    while (!app.struck && Date.now() < deadline) await sleep(10);
    if (!app.struck) violations.push({ kind: 'not reached', about: point, detail: 'the process never came by: the cell shows nothing' });
    else await suffer(system, app, signal, point);
    over = true;
    await load;
    // Life goes on.
    await system.load((count) => count >= 4, 2);
    const rest = await system.rest();
    violations.push(...rest.violations, ...(await system.close()));
    // A worker's end is nothing that somebody who signs up may notice.
    if (target !== 'front') violations.push(...refusals(system));
    return { name, violations, recovery: rest.recovery, facts: factsOf(system) };
  } finally {
    await system.dispose();
  }
}

/** At which pass of a point it is to strike. */
function passOf(point: string, random: Random): number {
  // The first renewal is a part of the start, and so may be one for the listener's connection: nothing is claimed yet.
  if (point === 'lease.before-renewal') return 3;
  return dispatching.test(point) || point === 'worker.during-shutdown' ? 1 : random.between(1, 4);
}

/** Lets the signal have its consequences, and sees to it that the process is there again afterwards. */
async function suffer(system: System, app: System['front'], signal: SignalName, point: string): Promise<void> {
  const end = system.fault(`${signal} at ${point}`);
  if (signal === 'stop') {
    system.history.add({ kind: 'process', name: app.name, pid: app.pid, what: 'stopped' });
    await sleep(STOP_TIME);
    app.signal('SIGCONT');
    end();
    // It was on its way out already.
    if (point !== 'worker.during-shutdown') return;
  }
  const how = await Promise.race([app.ended, sleep(25_000, 'not at all', { ref: false })]);
  if (how === 'not at all') {
    system.history.add({
      kind: 'process',
      name: app.name,
      pid: app.pid,
      what: 'exited',
      how: `did not end after ${signal}`,
      expected: false,
    });
    app.signal('SIGKILL');
    await app.ended;
  } else if (signal !== 'kill' && how !== 'code 0') {
    system.history.add({ kind: 'process', name: app.name, pid: app.pid, what: 'exited', how: `${how} after ${signal}`, expected: false });
  }
  await sleep(RESTART_PAUSE);
  await app.start();
  if (signal !== 'stop') end();
}

/** Requests that were not answered with success, but for those that were to be rolled back. */
export function refusals(system: System): Violation[] {
  return system.history
    .of('refused')
    .filter(({ why }) => !why.startsWith('rolled back'))
    .map(({ id, why }) => ({ kind: 'refused', about: id, detail: why }));
}

/** Figures for the table. */
export function factsOf(system: System): Record<string, number> {
  const { history } = system;
  const mails = history.of('mail');
  return {
    invoked: history.of('invoked').length,
    acknowledged: history.of('acknowledged').length,
    refused: refusals(system).length,
    mails: mails.length,
    duplicates: mails.length - new Set(mails.map((mail) => mail.to)).size,
  };
}
