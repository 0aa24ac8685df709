import { complain, say } from './output.ts';

const SAME_STROKE = 1_000;

/**
 * Aborted when somebody wants the stack to end: ctrl-c, a SIGTERM, a closed
 * terminal, or nobody reading what we print any more. A second ctrl-c does
 * not wait for the first: it ends this process, whose exit handlers kill.
 */
function stopOnSignals(): AbortController {
  const stopping = new AbortController();
  let askedAt = 0;
  const ask = (name: string) => {
    if (!stopping.signal.aborted) {
      askedAt = Date.now();
      say('stopping');
      stopping.abort();
    } else if (name === 'SIGINT' && Date.now() - askedAt > SAME_STROKE) {
      // One ctrl-c may arrive twice, from the terminal and from make.
      say('not waiting any longer');
      process.exit(1);
    }
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, ask);
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => ask('EPIPE'));
  return stopping;
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/**
 * Runs `work` as this process's whole life: when it is asked to end, or the
 * work fails, what the work has put into its resources is disposed of in
 * reverse order, and the process exits, with 1 for a failure.
 */
export async function runUntilStopped(work: (stopping: AbortSignal, resources: AsyncDisposableStack) => Promise<void>): Promise<never> {
  const stopping = stopOnSignals();
  const resources = new AsyncDisposableStack();
  let failed = false;
  try {
    await work(stopping.signal, resources);
  } catch (error) {
    // Being asked to end also cuts short whatever was being waited for.
    if (!stopping.signal.aborted) {
      failed = true;
      complain(error);
    }
  }
  stopping.abort();
  await resources.disposeAsync();
  process.exit(failed ? 1 : 0);
}
