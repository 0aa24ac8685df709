/**
 * What happened in a run, told from outside of the processes that are tested:
 * by the client, the mail server, the processes' exits and output, and by the
 * database at the end.
 */
export type Event =
  /** A sign-up (its e-mail address) or an order (its id) was asked for. */
  | { kind: 'invoked'; id: string }
  /** And was answered with success. */
  | { kind: 'acknowledged'; id: string }
  /** And was answered with an error, or not at all: it may have been committed or not. */
  | { kind: 'refused'; id: string; why: string }
  /** The mail server has taken a mail; `answered` is whether the sender was told. */
  | { kind: 'mail'; to: string; messageId: string; link: string; answered: boolean }
  /** A handler has begun; `run` tells its beginnings apart. */
  | { kind: 'started'; task: string; run: string; attempt: number; pid: number }
  /** As the worker's log tells it. */
  | { kind: 'attempt'; task: string; outcome: 'completed' | 'moot' | 'failed' | 'buried'; attempt: number; pid: number }
  | { kind: 'process'; name: string; pid: number; what: 'started' | 'stopped' | 'continued' | 'exited'; how?: string; expected?: boolean }
  | { kind: 'fault'; what: string; phase: 'begin' | 'end' };

export type Recorded = Event & { at: number };

/** The log of a run. */
export class History {
  readonly events: Recorded[] = [];

  add(event: Event, at = Date.now()): void {
    this.events.push({ ...event, at });
  }

  of<Kind extends Event['kind']>(kind: Kind): (Extract<Event, { kind: Kind }> & { at: number })[] {
    return this.events.filter((event): event is Extract<Event, { kind: Kind }> & { at: number } => event.kind === kind);
  }

  /** When the last fault was over; the beginning of the run when there was none. */
  lastFaultEnd(): number {
    return Math.max(0, ...this.of('fault').map((fault) => (fault.phase === 'end' ? fault.at : 0)));
  }
}

/** An effect that a task had on the database. */
export interface Effect {
  order: string;
  task: string;
  /** Which beginning of the handler wrote it. */
  run: string;
  mode: 'transaction' | 'keyed';
  /** Milliseconds since the epoch, by the database's clock, which is this machine's. */
  at: number;
}

/** A row of the ledger. */
export interface LedgerRow {
  id: string;
  type: string;
  state: string;
  /** The user or the order that the task is about. */
  subject: string | null;
  overdue: number;
  reason: string | null;
}

/** What the database holds when the run is over. */
export interface FinalState {
  users: { id: string; email: string }[];
  orders: string[];
  effects: Effect[];
  ledger: LedgerRow[];
}
