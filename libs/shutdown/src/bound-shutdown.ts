import { Logger, ShutdownSignal } from '@nestjs/common';

/**
 * Has this process end, with the exit code 1, when it has not done so by itself so
 * many milliseconds after a signal told it to; to be called once the app's shutdown
 * hooks are enabled.
 *
 * The hooks bound what they wait for themselves. This is for what none of them
 * thought of: whoever deploys would else wait until the process is killed.
 */
export function boundShutdown(milliseconds: number): void {
  for (const signal of Object.values(ShutdownSignal))
    process.once(signal, () => setTimeout(end, milliseconds, signal, milliseconds).unref());
}

function end(signal: string, milliseconds: number): void {
  // Kinds of what keeps the process alive, such as connections and timers; there is no more to be known from outside.
  const holding = Object.fromEntries(
    Object.entries(Object.groupBy(process.getActiveResourcesInfo(), (kind) => kind)).map(([kind, all]) => [kind, all?.length]),
  );
  new Logger('Shutdown').fatal({ signal, milliseconds, holding }, 'the process did not end in time, and is ended');
  process.exit(1);
}
