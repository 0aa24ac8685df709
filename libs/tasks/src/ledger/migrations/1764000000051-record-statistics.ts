import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What the charts of the last day are made of, and by which the dead are grouped.
 * Tasks that are dead already, and those that a worker of the release before
 * buries, are in the group ''.
 */
export class RecordStatistics1764000000051 implements MigrationInterface {
  readonly name = 'RecordStatistics1764000000051';

  async up(runner: QueryRunner): Promise<void> {
    // Every row is written some times within its minute: room for in-page updates.
    await runner.query(`
      CREATE TABLE task_statistic (
        minute timestamptz NOT NULL,
        queue text NOT NULL,
        started integer NOT NULL DEFAULT 0,
        completed integer NOT NULL DEFAULT 0,
        failed integer NOT NULL DEFAULT 0,
        died integer NOT NULL DEFAULT 0,
        waits integer NOT NULL DEFAULT 0,
        waited double precision NOT NULL DEFAULT 0,
        ran double precision NOT NULL DEFAULT 0,
        ready integer,
        running integer,
        delayed integer,
        dead integer,
        latency double precision,
        CONSTRAINT task_statistic_pkey PRIMARY KEY (minute, queue)
      ) WITH (fillfactor = 60)`);
    await runner.query(`ALTER TABLE task ADD COLUMN error_group text NOT NULL DEFAULT ''`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task DROP COLUMN error_group`);
    await runner.query(`DROP TABLE task_statistic`);
  }
}
