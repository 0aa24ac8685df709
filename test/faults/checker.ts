import type { FinalState, History } from './history.ts';

/** A promise that was not kept. */
export interface Violation {
  kind:
    | 'lost'
    | 'phantom'
    | 'double effect'
    | 'effect after the fence'
    | 'duplicate mail'
    | 'stuck'
    | 'buried'
    | 'order of attempts'
    | 'crash'
    | 'not reached'
    | 'growth'
    | 'refused'
    | 'missed'
    | 'hostile';
  about: string;
  detail: string;
}

/** What a run may do without breaking a promise. */
export interface Allowances {
  /** Milliseconds from the end of a fault, or from when the task was next due, until all is done. */
  recovery: number;
  /** A mail server that refuses for good makes tasks that are buried. */
  burials?: boolean;
}

/** The longest that anything may stay undone after the fault's end: the goal of the proof. */
export const RECOVERY_BOUND = 30_000;

/** How long a mail may be under way, from the handler to the server, on a busy machine. */
const MAIL_PATIENCE = 3_000;

/** How long the end of a handler may be unknown to the ledger: its deletion is gathered with others, on a busy machine. Milliseconds. */
const UNHEARD = 1_000;

/** Judges a run by its history and by what the database holds at its end. It knows nothing of how the engine works. */
export function judge(history: History, final: FinalState, allowances: Allowances): Violation[] {
  return [
    ...judgeSignUps(history, final),
    ...judgeOrders(history, final),
    ...judgeMails(history, final),
    ...judgeFences(history, final),
    ...judgeAttempts(history),
    ...judgeLedger(final, allowances),
    ...judgeProcesses(history),
  ];
}

/** What the ledger still knows about: it is not lost, but stuck or buried, and judged as that. */
function known(final: FinalState): Set<string | null> {
  return new Set(final.ledger.filter((row) => row.state !== 'completed').map((row) => row.subject));
}

/** Every sign-up that was acknowledged, or is there, has its mail. */
function judgeSignUps(history: History, final: FinalState): Violation[] {
  const violations: Violation[] = [];
  const mailed = new Set(history.of('mail').map((mail) => mail.to));
  const inLedger = known(final);
  const users = new Map(final.users.map((user) => [user.email, user.id]));
  for (const { id } of history.of('acknowledged')) {
    if (id.includes('@') && !users.has(id)) violations.push({ kind: 'lost', about: id, detail: 'acknowledged, and there is no such user' });
  }
  for (const [email, id] of users) {
    if (!mailed.has(email) && !inLedger.has(id)) violations.push({ kind: 'lost', about: email, detail: 'the user exists, no mail came' });
  }
  return violations;
}

/** Every order that was committed has its effect, once; no effect is there for any other. */
function judgeOrders(history: History, final: FinalState): Violation[] {
  const violations: Violation[] = [];
  const effects = Map.groupBy(final.effects, (effect) => effect.order);
  const orders = new Set(final.orders);
  const inLedger = known(final);
  for (const { id } of history.of('acknowledged')) {
    if (!id.includes('@') && !orders.has(id))
      violations.push({ kind: 'lost', about: id, detail: 'acknowledged, and there is no such order' });
  }
  for (const order of orders) {
    if (!effects.has(order) && !inLedger.has(order))
      violations.push({ kind: 'lost', about: order, detail: 'committed, and has no effect' });
  }
  for (const [order, all] of effects) {
    if (!orders.has(order)) violations.push({ kind: 'phantom', about: order, detail: 'an effect for an order that was never committed' });
    if (all.length > 1) violations.push({ kind: 'double effect', about: order, detail: `${all.length} effects` });
  }
  return violations;
}

/** A mail may come twice only where the sender was not told that the first was taken, or died before it could say so. */
function judgeMails(history: History, final: FinalState): Violation[] {
  const violations: Violation[] = [];
  const users = new Set(final.users.map((user) => user.email));
  // One that was stopped for longer than its lock goes on beside whoever has the task by then.
  const setbacks = history
    .of('process')
    .filter(({ what, how }) => what === 'stopped' || what === 'continued' || (what === 'exited' && how === 'SIGKILL'))
    .map(({ at }) => at);
  for (const [to, mails] of Map.groupBy(history.of('mail'), (mail) => mail.to)) {
    if (!users.has(to)) violations.push({ kind: 'phantom', about: to, detail: 'a mail to somebody whose sign-up was never committed' });
    for (let i = 1; i < mails.length; i++) {
      const [first, second] = [mails[i - 1]!, mails[i]!];
      if (first.messageId !== second.messageId || first.link !== second.link) {
        violations.push({ kind: 'duplicate mail', about: to, detail: 'two mails that cannot be known as one' });
      } else if (first.answered && !setbacks.some((at) => at >= first.at - MAIL_PATIENCE && at <= second.at)) {
        violations.push({ kind: 'duplicate mail', about: to, detail: `again after ${second.at - first.at} ms, and no worker had died` });
      }
    }
  }
  return violations;
}

/** Once a newer delivery of a task has begun, an older one may no longer have an effect. */
function judgeFences(history: History, final: FinalState): Violation[] {
  const starts = Map.groupBy(history.of('started'), (start) => start.task);
  const violations: Violation[] = [];
  for (const effect of final.effects) {
    if (effect.mode !== 'transaction') continue;
    const own = starts.get(effect.task)?.find((start) => start.run === effect.run);
    const newer = own && starts.get(effect.task)?.find((start) => start.at > own.at && start.at < effect.at);
    if (newer) {
      const detail = `written ${Math.round(effect.at - newer.at)} ms after a newer delivery had begun`;
      violations.push({ kind: 'effect after the fence', about: effect.task, detail });
    }
  }
  return violations;
}

/**
 * The failed attempts of a task are counted upwards, and none ends after the
 * task was done. A gap is no fault: where the dispatcher's answer is lost, so is
 * the line that the worker would have logged. Nor is a second end where the worker
 * that logged the first was killed, or ended by a task, before the ledger could have heard of it.
 */
function judgeAttempts(history: History): Violation[] {
  const violations: Violation[] = [];
  const kills = history.of('process').filter(({ what, how }) => what === 'exited' && how !== 'code 0');
  for (const [task, attempts] of Map.groupBy(history.of('attempt'), (attempt) => attempt.task)) {
    let failed = 0;
    let done: string | undefined;
    for (const { outcome, attempt, pid, at } of attempts) {
      if (outcome === 'moot') continue;
      if (done !== undefined) violations.push({ kind: 'order of attempts', about: task, detail: `${outcome} after it was ${done}` });
      if (outcome === 'completed') {
        done = kills.some((kill) => kill.pid === pid && kill.at >= at && kill.at <= at + UNHEARD) ? undefined : outcome;
        continue;
      }
      if (attempt <= failed)
        violations.push({ kind: 'order of attempts', about: task, detail: `attempt ${attempt} failed after attempt ${failed}` });
      failed = attempt;
      if (outcome === 'buried') done = outcome;
    }
  }
  return violations;
}

/** Nothing is left in the ledger but what is buried. */
function judgeLedger(final: FinalState, allowances: Allowances): Violation[] {
  const subjects = new Set([...final.users.map((user) => user.id), ...final.orders]);
  return final.ledger.flatMap((row): Violation[] => {
    if (row.subject !== null && !subjects.has(row.subject)) {
      return [{ kind: 'phantom', about: row.id, detail: 'a task for something that was never committed' }];
    }
    if (row.state === 'dead') {
      return allowances.burials ? [] : [{ kind: 'buried', about: row.id, detail: row.reason ?? 'without a reason' }];
    }
    if (row.state === 'completed') return [];
    return [{ kind: 'stuck', about: row.id, detail: `still ${row.state}, ${Math.round(row.overdue / 1000)} s after it was due` }];
  });
}

/** A process ends when it is told to, and with 0 when it is asked to. */
function judgeProcesses(history: History): Violation[] {
  return history
    .of('process')
    .filter(({ what, expected }) => what === 'exited' && expected === false)
    .map(({ name, how }) => ({ kind: 'crash', about: name, detail: `ended by itself: ${how ?? '?'}` }));
}
