export { assertDatabase, DatabaseProblem, type PendingCheck, waitForDatabase } from './database-check.js';
export { DatabaseReadiness } from './database-readiness.js';
export { DatabaseModule } from './database.module.js';
export { ReadinessModule } from './readiness.module.js';
export { createDataSource } from './data-source.js';
export { migrate, MigrationFailed, type MigrateOptions } from './migrate.js';
export { type Migrations, pendingMigrations } from './pending-migrations.js';
