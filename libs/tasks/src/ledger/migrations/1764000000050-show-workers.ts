import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a worker shows of itself. One of the release before leaves it null: nobody knows then what it serves and runs. */
export class ShowWorkers1764000000050 implements MigrationInterface {
  readonly name = 'ShowWorkers1764000000050';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE task_worker
        ADD COLUMN version text,
        ADD COLUMN queues jsonb,
        ADD COLUMN slots integer,
        ADD COLUMN busy jsonb,
        ADD COLUMN running jsonb`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE task_worker DROP COLUMN version, DROP COLUMN queues, DROP COLUMN slots, DROP COLUMN busy, DROP COLUMN running`);
  }
}
