import 'reflect-metadata';
import { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, migrate, MigrationFailed } from '@app/database';
import { migrations } from './migrations.js';

const config = Config.load();
try {
  await assertDatabase(config);
  await migrate(config, migrations, { say: (line) => process.stdout.write(`${line}\n`) });
  process.stdout.write('The database is up to date.\n');
} catch (error) {
  if (!(error instanceof DatabaseProblem || error instanceof MigrationFailed)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
