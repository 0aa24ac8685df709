import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Queries, Wire } from '../src/api.js';
import { ask, Failure, now } from './client.js';

/** What is known of an answer that is asked for again and again. */
export interface Live<Answer> {
  /** The newest answer; kept while the server cannot give another. */
  readonly data: Answer | undefined;
  /** When it came, by the server's clock, in milliseconds since 1970. */
  readonly at: number | undefined;
  /** Why there is no newer one. */
  readonly failure: Failure | undefined;
  /** Asks at once. */
  readonly refresh: () => void;
}

/** Milliseconds after which what could not be answered is asked again at the latest: whoever waits for a server that was away sees at once that it is back. */
const AFTER_FAILURE = 5_000;

/** A server that does not answer one of the questions of the page. */
export interface Outage {
  readonly failure: Failure;
  /** Of when the newest answer is, in milliseconds since 1970; undefined where there was none. */
  readonly since: number | undefined;
}

/** The outages by what is asked for. Some questions need no database: that they are answered says nothing of the others. */
const outages = new Map<object, Outage>();
const listeners = new Set<() => void>();

function tell(question: object, outage: Outage | undefined): void {
  if (outage) outages.set(question, outage);
  else if (!outages.delete(question)) return;
  for (const listener of listeners) listener();
}

/** What the page waits for; of several, what it has waited for longest. Of what an operator has asked wrongly nothing is told here. */
export function useOutage(): Outage | undefined {
  const [outage, setOutage] = useState<Outage>();
  useEffect(() => {
    const look = () => setOutage([...outages.values()].sort((one, other) => (one.since ?? 0) - (other.since ?? 0))[0]);
    listeners.add(look);
    look();
    return () => void listeners.delete(look);
  }, []);
  return outage;
}

/**
 * An answer of the server, asked for again `every` so many milliseconds after the last
 * one came, for as long as the page is looked at.
 *
 * @param every the same at each call; a function is told the last answer.
 */
export function useLive<Name extends keyof Queries>(
  name: Name,
  input: Queries[Name]['input'],
  every: number | ((answer: Wire<Queries[Name]['answer']>) => number),
): Live<Wire<Queries[Name]['answer']>> {
  const key = JSON.stringify(input);
  const [state, setState] = useState<{ key: string; data?: Wire<Queries[Name]['answer']>; at?: number; failure?: Failure }>({ key });
  const again = useRef<() => void>(() => undefined);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    let turn = 0;
    let since: number | undefined;
    const question = {};
    const look = async () => {
      clearTimeout(timer);
      const mine = (turn += 1);
      let wait = typeof every === 'number' ? Math.min(every, AFTER_FAILURE) : AFTER_FAILURE;
      try {
        const data = await ask(name, JSON.parse(key) as Queries[Name]['input']);
        if (isOver || mine !== turn) return;
        setState({ key, data, at: now() });
        since = Date.now();
        tell(question, undefined);
        wait = typeof every === 'number' ? every : every(data);
      } catch (error) {
        if (isOver || mine !== turn) return;
        const failure = error instanceof Failure ? error : new Failure(0, String(error));
        setState((before) => ({ ...(before.key === key ? before : { key }), failure }));
        const isAway = failure.status === 0 || failure.status >= 500;
        tell(question, isAway ? { failure, since } : undefined);
      }
      if (!document.hidden) timer = setTimeout(look, wait);
    };
    const onVisibility = () => {
      clearTimeout(timer);
      if (!document.hidden) void look();
    };
    again.current = () => void look();
    document.addEventListener('visibilitychange', onVisibility);
    void look();
    return () => {
      isOver = true;
      clearTimeout(timer);
      tell(question, undefined);
      document.removeEventListener('visibilitychange', onVisibility);
    };
  }, [name, key, every]);
  const refresh = useCallback(() => again.current(), []);
  const isOfThis = state.key === key;
  return {
    data: isOfThis ? state.data : undefined,
    at: isOfThis ? state.at : undefined,
    failure: isOfThis ? state.failure : undefined,
    refresh,
  };
}
