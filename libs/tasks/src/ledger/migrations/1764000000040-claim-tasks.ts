import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The ledger is the queue: workers claim its rows themselves. BullMQ's own tables,
 * in which an earlier release kept a second copy of every task, go; a worker takes
 * over the tasks that were in them, whose rows are still here. In the database of a
 * team that has the engine alone they are the team's own: only Waybill notes its
 * migrations in `migration_history`.
 */
export class ClaimTasks1764000000040 implements MigrationInterface {
  readonly name = 'ClaimTasks1764000000040';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE task_worker (
        id integer GENERATED ALWAYS AS IDENTITY,
        host text NOT NULL,
        pid integer NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(),
        lease_until timestamptz NOT NULL,
        CONSTRAINT task_worker_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`ALTER TABLE task ADD COLUMN claimed_by integer, ADD COLUMN quarantined boolean NOT NULL DEFAULT false`);
    await runner.query(`
      DO $$ BEGIN
        IF to_regclass('migration_history') IS NOT NULL THEN DROP SCHEMA IF EXISTS bullmq CASCADE; END IF;
      END $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task DROP COLUMN claimed_by, DROP COLUMN quarantined`);
    await runner.query(`DROP TABLE task_worker`);
  }
}
