/** `make check`: the migrations, run on an empty database, make exactly the tables that the entities describe. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DataSource } from 'typeorm';
import { complain, say } from './stack/output.ts';
import { startPostgres } from './stack/postgres.ts';
import { runOnce } from './stack/run-once.ts';
import { ROOT } from './stack/settings.ts';

/** The statements that would make the migrated database what the entities describe. */
async function missingStatements(): Promise<readonly string[]> {
  const entry = pathToFileURL(join(ROOT, 'dist/apps/worker/src/data-source.js')).href;
  const { default: dataSource } = (await import(entry)) as { default: DataSource };
  await dataSource.initialize();
  try {
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    return upQueries.map(({ query }) => query);
  } finally {
    await dataSource.destroy();
  }
}

const postgres = await startPostgres({ port: 0, temporary: true });
try {
  // The data source reads its address from the environment when it is imported.
  process.env.DATABASE_URL = postgres.url;
  await runOnce('migrate', 'dist/migrate.js', process.env, new AbortController().signal);
  const missing = await missingStatements();
  if (missing.length > 0) {
    process.exitCode = 1;
    complain(`the entities have changed and no migration says how; it would have to run:\n${missing.join(';\n')};`);
  } else {
    say('the migrations make what the entities describe');
  }
} finally {
  await postgres.stop();
}
