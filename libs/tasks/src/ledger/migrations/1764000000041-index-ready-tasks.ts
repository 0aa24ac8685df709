import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The indexes that claims read along, by queue; built beside the traffic, since the ledger may be large. */
export class IndexReadyTasks1764000000041 implements MigrationInterface {
  readonly name = 'IndexReadyTasks1764000000041';
  readonly transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await build(runner, 'task_ready', `(queue, run_at, id) WHERE state = 'pending' AND NOT quarantined`);
    await build(runner, 'task_quarantine', `(queue, run_at, id) WHERE state = 'pending' AND quarantined`);
    await runner.query(`DROP INDEX CONCURRENTLY IF EXISTS task_pending`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await build(runner, 'task_pending', `(id) WHERE state = 'pending'`);
    await runner.query(`DROP INDEX CONCURRENTLY task_ready`);
    await runner.query(`DROP INDEX CONCURRENTLY task_quarantine`);
  }
}

async function build(runner: QueryRunner, index: string, definition: string): Promise<void> {
  // An attempt that was cut off leaves an index that is not valid, and in the way.
  const left = (await runner.query(`SELECT FROM pg_index WHERE indexrelid = to_regclass('${index}') AND NOT indisvalid`)) as unknown[];
  if (left.length > 0) await runner.query(`DROP INDEX CONCURRENTLY ${index}`);
  await runner.query(`CREATE INDEX CONCURRENTLY IF NOT EXISTS ${index} ON task ${definition}`);
}
