/** How much a server takes from its callers at once. Whoever comes when that is reached is served, and the oldest of the kind ends. */
export interface Limits {
  /** Connections to one transport; the oldest that carries no call ends. */
  readonly connections: number;
  /** Calls at once on one connection of gRPC. */
  readonly callsPerConnection: number;
  /** Requests whose end has not arrived yet, on one transport. Each may hold as much memory as the largest request. */
  readonly arriving: number;
  /** How long a request on gRPC may take to arrive, in milliseconds. (On HTTP: 10 s for its head, 30 s for all of it.) */
  readonly arrivalTimeout: number;
  /** Streams without an end of their own: watched health, reflection. */
  readonly watching: number;
  /** How long whoever calls too often waits for the refusal, at the mean, in milliseconds: from half to one and a half of it. */
  readonly refusalDelay: number;
  /** How many calls may wait so; others are refused at once. Each may hold as much memory as the largest request. */
  readonly refusing: number;
}

export const DEFAULT_LIMITS: Limits = {
  connections: 2_000,
  callsPerConnection: 100,
  arriving: 1_000,
  arrivalTimeout: 10_000,
  watching: 100,
  refusalDelay: 1_000,
  refusing: 2_000,
};

/**
 * What may be there only so many times: one more, and the oldest ends. An
 * honest caller is done long before it is the oldest; one who only holds on
 * pushes out its own.
 */
export class Bounded<T> {
  private readonly items = new Set<T>();

  /** @param end is called with the oldest, which counts no longer. */
  constructor(
    private readonly limit: number,
    private readonly end: (oldest: T) => void,
  ) {}

  add(item: T): void {
    this.items.add(item);
    if (this.items.size <= this.limit) return;
    const [oldest] = this.items as ReadonlySet<T>;
    this.items.delete(oldest as T);
    this.end(oldest as T);
  }

  delete(item: T): void {
    this.items.delete(item);
  }

  [Symbol.iterator](): Iterator<T> {
    return this.items.values();
  }
}

/** Connections, of which the oldest idle one ends when there are too many. */
export class BoundedConnections<T> {
  private readonly idle = new Set<T>();
  private readonly all = new Set<T>();

  constructor(
    private readonly limit: number,
    private readonly end: (connection: T) => void,
  ) {}

  /** A new connection, idle as yet. */
  opened(connection: T): void {
    this.all.add(connection);
    this.idle.add(connection);
    if (this.all.size <= this.limit) return;
    // The new one is among the idle, so there always is one.
    const [oldest] = this.idle as ReadonlySet<T>;
    this.end(oldest as T);
  }

  /** It carries calls, or none any more. */
  setIdle(connection: T, idle: boolean): void {
    if (!idle) this.idle.delete(connection);
    else if (this.all.has(connection)) this.idle.add(connection);
  }

  closed(connection: T): void {
    this.all.delete(connection);
    this.idle.delete(connection);
  }

  /** Ends those that carry no call. */
  endIdle(): void {
    for (const connection of this.idle) this.end(connection);
  }
}
