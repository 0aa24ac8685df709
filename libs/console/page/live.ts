import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Queries, Wire } from '../src/api.js';
import { ask, Failure } from './client.js';

/** What is known of an answer that is asked for again and again. */
export interface Live<Answer> {
  /** The newest answer; kept while the server cannot give another. */
  readonly data: Answer | undefined;
  /** Why there is no newer one. */
  readonly failure: Failure | undefined;
  /** Asks at once. */
  readonly refresh: () => void;
}

/** Milliseconds after which what could not be answered is asked again at the latest: whoever waits for a server that was away sees at once that it is back. */
const AFTER_FAILURE = 5_000;

type Listener = (state: { failure: Failure | undefined; since: number }) => void;
const listeners = new Set<Listener>();
let lastAnswer = Date.now();

function tell(failure: Failure | undefined): void {
  if (!failure) lastAnswer = Date.now();
  for (const listener of listeners) listener({ failure, since: lastAnswer });
}

/** Whether the newest request was answered; of what an operator has asked wrongly nothing is told here. */
export function useConnection(): { failure: Failure | undefined; since: number } {
  const [state, setState] = useState<Parameters<Listener>[0]>({ failure: undefined, since: lastAnswer });
  useEffect(() => {
    listeners.add(setState);
    return () => void listeners.delete(setState);
  }, []);
  return state;
}

/**
 * An answer of the server, asked for again `every` so many milliseconds after the last
 * one came, for as long as the page is looked at.
 *
 * @param every the same at each call; a function is told how long the last answer took to come.
 */
export function useLive<Name extends keyof Queries>(
  name: Name,
  input: Queries[Name]['input'],
  every: number | ((took: number) => number),
): Live<Wire<Queries[Name]['answer']>> {
  const key = JSON.stringify(input);
  const [state, setState] = useState<{ key: string; data?: Wire<Queries[Name]['answer']>; failure?: Failure }>({ key });
  const again = useRef<() => void>(() => undefined);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    let turn = 0;
    const look = async () => {
      clearTimeout(timer);
      const mine = (turn += 1);
      const begin = performance.now();
      let wait = typeof every === 'number' ? Math.min(every, AFTER_FAILURE) : AFTER_FAILURE;
      try {
        const data = await ask(name, JSON.parse(key) as Queries[Name]['input']);
        if (isOver || mine !== turn) return;
        setState({ key, data });
        tell(undefined);
        wait = typeof every === 'number' ? every : every(performance.now() - begin);
      } catch (error) {
        if (isOver || mine !== turn) return;
        const failure = error instanceof Failure ? error : new Failure(0, String(error));
        setState((before) => ({ ...(before.key === key ? before : { key }), failure }));
        const isAway = failure.status === 0 || failure.status >= 500;
        tell(isAway ? failure : undefined);
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
      document.removeEventListener('visibilitychange', onVisibility);
    };
  }, [name, key, every]);
  const refresh = useCallback(() => again.current(), []);
  const isOfThis = state.key === key;
  return { data: isOfThis ? state.data : undefined, failure: isOfThis ? state.failure : undefined, refresh };
}
