import { writeSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** The places where a process can be told to fail, in the order in which a sign-up and its task pass them. */
export const FAULT_POINTS = [
  'signup.after-insert',
  'signup.before-commit',
  'signup.after-commit',
  'claims.after-claim',
  'claims.in-buffer',
  'lease.before-renewal',
  'relay.after-claim',
  'relay.after-add',
  'relay.before-mark',
  'worker.after-fetch',
  'worker.in-handler',
  'effect.before-commit',
  'effect.after-commit',
  'mail.before-send',
  'mail.after-accepted',
  'worker.before-completion',
  'worker.after-completion',
  'worker.during-shutdown',
] as const;

export type FaultPoint = (typeof FAULT_POINTS)[number];

/**
 * `kill`, `stop`: SIGKILL or SIGSTOP to this process. `term`: SIGTERM, while it
 * lingers at the point. `stall`: it hangs there. `throw`: an error.
 */
type Action = 'kill' | 'term' | 'stop' | 'stall' | 'throw';

interface Fault {
  readonly action: Action;
  /** Which pass of the point it strikes at; those before and after go through. */
  readonly at: number;
  passes: number;
}

const FAULT = /^([a-z.-]+):(kill|term|stop|stall|throw)(?:@([1-9]\d*))?$/;

/** Milliseconds. */
const LINGER = 500;
/** Longer than the lock of a task. */
const STALL = 20_000;

let armed: ReadonlyMap<string, Fault> | undefined;

/**
 * Arms the faults of `FAULTS`, such as `relay.after-add:kill@3`, several with
 * commas between them. Until then, and without any, {@link faultPoint} does nothing.
 *
 * @throws Error that names what cannot be read.
 */
export function armFaults(text: string | undefined): void {
  if (text === undefined) {
    armed = undefined;
    return;
  }
  const faults = new Map<string, Fault>();
  for (const part of text.split(',')) {
    const [, point = '', action, at = '1'] = FAULT.exec(part) ?? [];
    if (!FAULT_POINTS.some((name) => name === point)) throw new Error(`FAULTS: "${part}" is not point:action or point:action@pass`);
    faults.set(point, { action: action as Action, at: Number(at), passes: 0 });
  }
  armed = faults;
}

/** A place where a test may have this process fail. Off, it costs a comparison; it is to be awaited. */
export function faultPoint(point: FaultPoint): Promise<void> | undefined {
  const fault = armed?.get(point);
  return fault === undefined || ++fault.passes !== fault.at ? undefined : strike(point, fault.action);
}

async function strike(point: FaultPoint, action: Action): Promise<void> {
  // Written at once: what a logger still holds would die with the process.
  writeSync(2, `${JSON.stringify({ fault: point, action, pid: process.pid })}\n`);
  switch (action) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      return wait(STALL);
    case 'term':
      process.kill(process.pid, 'SIGTERM');
      return wait(LINGER);
    case 'stop':
      process.kill(process.pid, 'SIGSTOP');
      // The signal reaches the process, not this thread: do not run on before it does.
      return wait(1);
    case 'stall':
      return wait(STALL);
    case 'throw':
      throw new Error(`a fault at ${point}`);
  }
}
