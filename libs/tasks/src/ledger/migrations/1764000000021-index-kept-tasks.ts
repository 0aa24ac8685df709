import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The index that the purge reads along; built beside the traffic, since the ledger may be large. */
export class IndexKeptTasks1764000000021 implements MigrationInterface {
  readonly name = 'IndexKeptTasks1764000000021';
  readonly transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    // An attempt that was cut off leaves an index that is not valid, and in the way.
    const left = (await runner.query(`SELECT FROM pg_index WHERE indexrelid = to_regclass('task_kept') AND NOT indisvalid`)) as unknown[];
    if (left.length > 0) await runner.query(`DROP INDEX CONCURRENTLY task_kept`);
    await runner.query(`CREATE INDEX CONCURRENTLY IF NOT EXISTS task_kept ON task (keep_until) WHERE state = 'completed'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP INDEX CONCURRENTLY task_kept`);
  }
}
