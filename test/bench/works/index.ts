import type { Work } from '../lib/work.ts';
import { backlog } from './backlog.ts';
import { backlogOnLedger } from './backlog-on-ledger.ts';
import { calls, logIns, signUps } from './calls.ts';
import { distribute } from './distribute.ts';
import { engine } from './engine.ts';
import { footprint } from './footprint.ts';
import { latency } from './latency.ts';
import { postgresDispatcher } from './postgres-dispatcher.ts';
import { relay } from './relay.ts';
import { shares, sharesOnPostgres } from './shares.ts';
import { snapshot } from './snapshot.ts';
import { telemetry } from './telemetry.ts';
import { wholeWay } from './whole-way.ts';

/** In the order of the table. */
export const works: readonly Work[] = [
  engine,
  shares,
  sharesOnPostgres,
  wholeWay,
  distribute,
  relay,
  latency,
  signUps,
  logIns,
  calls,
  backlog,
  backlogOnLedger,
  snapshot,
  postgresDispatcher,
  telemetry,
  footprint,
];
