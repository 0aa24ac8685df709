import { setTimeout as sleep } from 'node:timers/promises';
import type { Violation } from './checker.ts';
import type { Context, Result, Scenario } from './run.ts';
import { System, type SystemOptions } from './system.ts';

/** A system that is broken on purpose, and what the checker has to say about it. */
interface Control {
  readonly name: string;
  readonly expected: readonly Violation['kind'][];
  readonly options: Partial<SystemOptions>;
  readonly needsRedis: boolean;
  readonly play: (system: System) => Promise<void>;
}

const BROKEN = 'test/faults/broken-app.ts';
const plain = (variant: string, more: Record<string, string> = {}) => ({
  entries: { front: BROKEN, worker: BROKEN },
  environment: { VARIANT: variant, ...more },
  workers: 1,
});

/** Longer than it takes until the jobs of a worker that was lost are another's, one after the other. */
const PATIENCE = 60_000;

/** The worker that is elected: its connection holds that lock, and the one that shows that it is there. */
const ELECTED = `
  SELECT task_worker.pid FROM pg_locks AS election JOIN pg_locks AS presence ON presence.pid = election.pid
  JOIN task_worker ON task_worker.id = presence.objid
  WHERE election.classid = 730945301 AND presence.classid = 730945302 AND presence.database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

async function waitUntil(condition: () => boolean): Promise<void> {
  for (const until = Date.now() + PATIENCE; !condition() && Date.now() < until;) await sleep(20);
}

const CONTROLS: readonly Control[] = [
  {
    name: 'enqueued inside the open transaction',
    expected: ['phantom'],
    options: plain('inside'),
    needsRedis: true,
    play: async (system) => {
      await system.start();
      await system.load((count) => count >= 40);
    },
  },
  {
    name: 'enqueued after the commit, without a ledger',
    expected: ['lost'],
    options: plain('after', { DIE_AT: '10' }),
    needsRedis: true,
    play: async (system) => {
      await system.start();
      system.front.expectExit();
      await system.load((count) => count >= 20 || !system.front.isRunning, 1);
      await system.front.ended;
      await system.front.start({ DIE_AT: '0' });
      await system.load((count) => count >= 10);
    },
  },
  {
    name: 'no fence',
    expected: ['double effect', 'effect after the fence'],
    options: { workers: 2, environment: { BROKEN: 'no-fence', EFFECT_PAUSE: '1000' } },
    needsRedis: false,
    play: async (system) => {
      await system.start();
      // Not the elected one: that would be the one to say that it is lost.
      let elected: { pid: number } | undefined;
      for (const until = Date.now() + PATIENCE; !elected && Date.now() < until; await sleep(100)) {
        [elected] = await system.query<{ pid: number }>(ELECTED);
      }
      const app = system.workers.find(({ pid }) => pid !== elected?.pid)!;
      let over = false;
      const load = system.load(
        () => over,
        2,
        () => 20,
      );
      // Several of its handlers have begun and are before their effect.
      const recent = () => system.history.of('started').filter(({ pid, at }) => pid === app.pid && at > Date.now() - 500);
      await waitUntil(() => recent().length >= 8);
      app.signal('SIGSTOP');
      // As others do it once they have heard nothing of the process for two minutes.
      await system.query('DELETE FROM task_worker WHERE pid = $1', [app.pid]);
      over = true;
      const end = system.fault('stopped in the handler');
      await load;
      // One after the other, from quarantine; of some the effect is not in the transaction that the fence is about.
      const begunTwice = () =>
        [...Map.groupBy(system.history.of('started'), ({ task }) => task).values()].filter(({ length }) => length > 1);
      await waitUntil(() => begunTwice().length >= 6);
      app.signal('SIGCONT');
      end();
    },
  },
];

/** The checker must find what is wrong with each; one that it does not is what fails here. */
export function negativeControls(context: Context): Scenario[] {
  return CONTROLS.filter((control) => !control.needsRedis || context.redis !== undefined).map((control) => ({
    name: control.name,
    run: () => runControl(control, context),
  }));
}

async function runControl(control: Control, context: Context): Promise<Result> {
  const system = await System.open({
    name: `control ${control.name}`,
    work: 'orders',
    workers: 1,
    dispatcher: context.redis ? 'redis' : 'postgres',
    postgres: context.postgres,
    redis: context.redis,
    ...control.options,
  });
  try {
    await control.play(system);
    const { violations: found } = await system.rest({ recovery: 5_000 });
    const violations = control.expected
      .filter((kind) => !found.some((violation) => violation.kind === kind))
      .map((kind): Violation => ({ kind: 'missed', about: control.name, detail: `the checker did not report a ${kind}` }));
    const counts = Object.entries(Object.groupBy(found, ({ kind }) => kind)).map(([kind, all]) => `${all.length} × ${kind}`);
    return { name: control.name, violations, facts: { reported: counts.join(', ') } };
  } finally {
    for (const app of system.processes) app.signal('SIGCONT');
    await system.dispose();
  }
}
