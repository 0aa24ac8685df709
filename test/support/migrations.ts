import { accountMigrations } from '@app/account';
import type { Migrations } from '@app/database';
import { taskMigrations } from '@app/tasks';

/** Those of the release under test, in the order in which they run. */
export const migrations: Migrations = [...taskMigrations, ...accountMigrations].toSorted((a, b) => timeOf(a) - timeOf(b));

function timeOf({ name }: { name: string }): number {
  return Number(name.slice(-13));
}
