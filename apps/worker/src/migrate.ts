import 'reflect-metadata';
import { Config } from '@app/config';
import { migrate } from '@app/database';
import { migrateQueues } from '@app/tasks';

const config = Config.load();
const done = await migrate(config);
await migrateQueues(config);
process.stdout.write(done.length === 0 ? 'The database is up to date.\n' : `Migrated: ${done.join(', ')}\n`);
