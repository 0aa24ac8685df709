import { accountMigrations } from '@app/account';
import { taskMigrations } from '@app/tasks';

/** What the database must have had for this app to work. */
export const migrations = [...taskMigrations, ...accountMigrations];
