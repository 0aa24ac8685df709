import type { Violation } from './checker.ts';
import type { Random } from './random.ts';
import type { PostgresServer, RedisServer } from './servers.ts';
import type { Dispatcher } from './system.ts';

/** What every section works with. */
export interface Context {
  readonly postgres: PostgresServer;
  readonly redis: RedisServer | undefined;
  readonly dispatchers: readonly Dispatcher[];
  readonly random: Random;
  readonly short: boolean;
  /** Tasks of the soak, requests of the hostile clients. */
  readonly size: { readonly soak: number; readonly hostile: number };
}

/** What came of one scenario. */
export interface Result {
  readonly name: string;
  readonly violations: readonly Violation[];
  /** Milliseconds from the fault's end until nothing was left to do. */
  readonly recovery?: number;
  readonly facts: Readonly<Record<string, number | string>>;
}

/** A scenario that has not begun. */
export interface Scenario {
  readonly name: string;
  readonly run: () => Promise<Result>;
}

/** Runs scenarios, several at a time; one that throws has failed, and the others go on. */
export async function runAll(scenarios: readonly Scenario[], concurrency: number, report: (result: Result) => void): Promise<Result[]> {
  const results: Result[] = [];
  const waiting = [...scenarios];
  const lane = async () => {
    for (let scenario = waiting.shift(); scenario; scenario = waiting.shift()) {
      const { name, run } = scenario;
      const result = await run().catch((error: unknown): Result => {
        const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
        return { name, violations: [{ kind: 'crash', about: 'the scenario', detail }], facts: {} };
      });
      results.push(result);
      report(result);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return results;
}
