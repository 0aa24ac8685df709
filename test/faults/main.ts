/**
 * `node test/faults/main.ts [--short] [--only section] [--match text] [--concurrency n] [--soak tasks] [--hostile requests] [--json file]`
 *
 * Kills, stops and cuts off parts of the real, built apps, and judges from
 * outside what became of the work. `SEED` repeats a run's choices.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { bundle } from '../../scripts/bundle.ts';
import { floods } from './flood.ts';
import { hostileClients } from './hostile-clients.ts';
import { cells, runCell } from './kill-matrix.ts';
import { negativeControls } from './negative-controls.ts';
import { outages } from './outages.ts';
import { poison } from './poison.ts';
import { Random } from './random.ts';
import { type Context, type Result, runAll, type Scenario } from './run.ts';
import { PostgresServer, RedisServer } from './servers.ts';
import { soak } from './soak.ts';
import { type Dispatcher, LOG_DIR, PROGRAMS } from './system.ts';
import { row, summary } from './table.ts';

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string' },
    match: { type: 'string' },
    concurrency: { type: 'string' },
    soak: { type: 'string' },
    hostile: { type: 'string' },
    json: { type: 'string', default: join(LOG_DIR, 'result.json') },
  },
});
const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const startedAt = Date.now();
const { short } = values;

/** Those with the longest waits first: they overlap with the rest. */
const SECTIONS: Readonly<Record<string, (context: Context) => Scenario[]>> = {
  poison,
  outages,
  'negative-controls': negativeControls,
  soak,
  'hostile-clients': hostileClients,
  floods,
  'kill-matrix': (context) =>
    cells(context.dispatchers, short, context.random.fork('cells')).map((cell) => ({
      name: `${cell.point}:${cell.signal} ${cell.workers}w ${cell.dispatcher}`,
      run: () => runCell(cell, context),
    })),
};
/** Sections whose scenarios are about load: at full size each has the machine to itself. */
const ALONE: ReadonlySet<string> = new Set(short ? [] : ['soak', 'hostile-clients', 'floods']);

if (values.only !== undefined && !(values.only in SECTIONS)) {
  process.stderr.write(`--only ${values.only}: the sections are ${Object.keys(SECTIONS).join(', ')}\n`);
  process.exit(2);
}
// Each process of a system under test has its own.
process.setMaxListeners(0);
// Ctrl-c ends what we started, through the exit handlers.
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130));

rmSync(LOG_DIR, { recursive: true, force: true });
mkdirSync(LOG_DIR, { recursive: true });
await bundle({ effects: join(import.meta.dirname, 'effects-app.ts') }, PROGRAMS);
const postgres = await PostgresServer.start();
const redis = await RedisServer.start();
const dispatchers: Dispatcher[] = redis ? ['redis', 'postgres'] : ['postgres'];
const context: Context = {
  postgres,
  redis,
  dispatchers,
  short,
  random: new Random(seed),
  size: { soak: Number(values.soak ?? (short ? 2_000 : 100_000)), hostile: Number(values.hostile ?? (short ? 600 : 10_000)) },
};
process.stdout.write(`SEED=${seed}${short ? ' --short' : ''}; logs in ${LOG_DIR}\n`);
if (!redis) process.stdout.write('NOT RUN: everything on Redis. There is no redis-server on this machine.\n');

const results: (Result & { section: string })[] = [];
const chosen = Object.entries(SECTIONS)
  .filter(([section]) => values.only === undefined || section === values.only)
  .map(([section, scenarios]) => ({
    section,
    scenarios: scenarios(context).filter(({ name }) => values.match === undefined || name.includes(values.match)),
  }));
const report = (section: string) => (result: Result) => {
  results.push({ section, ...result });
  process.stdout.write(`${row(section, result)}\n`);
};
try {
  const together = chosen.filter(({ section }) => !ALONE.has(section));
  const sections = new Map(together.flatMap(({ section, scenarios }) => scenarios.map(({ name }) => [name, section])));
  await runAll(
    together.flatMap(({ scenarios }) => scenarios),
    Number(values.concurrency ?? (short ? 6 : 5)),
    (result) => report(sections.get(result.name) ?? '')(result),
  );
  for (const { section, scenarios } of chosen.filter(({ section }) => ALONE.has(section))) await runAll(scenarios, 1, report(section));
} finally {
  await redis?.stop();
  await postgres.stop();
}

// A scenario that was not run has shown nothing.
const missing = chosen.reduce((sum, { scenarios }) => sum + scenarios.length, 0) - results.length;
const failed = results.some(({ violations }) => violations.length > 0) || results.length === 0 || missing > 0;
mkdirSync(dirname(values.json), { recursive: true });
writeFileSync(values.json, JSON.stringify({ seed, short, startedAt: new Date(startedAt), took: Date.now() - startedAt, results }, null, 2));
process.stdout.write(`${summary(results, Date.now() - startedAt)}\n`);
process.exit(failed ? 1 : 0);
