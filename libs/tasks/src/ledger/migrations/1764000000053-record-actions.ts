import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What operators have done, and what became of periodic tasks. */
export class RecordActions1764000000053 implements MigrationInterface {
  readonly name = 'RecordActions1764000000053';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE task_action (
        id integer GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL DEFAULT now(),
        who text NOT NULL,
        kind text NOT NULL,
        text text NOT NULL,
        task_id uuid,
        queue text,
        type text,
        search jsonb,
        state text NOT NULL DEFAULT 'running',
        total integer NOT NULL DEFAULT 1,
        done integer NOT NULL DEFAULT 0,
        refused integer NOT NULL DEFAULT 0,
        rate double precision,
        error text,
        heard_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        CONSTRAINT task_action_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`CREATE INDEX task_action_at ON task_action (at)`);
    await runner.query(`
      ALTER TABLE task_schedule
        ADD COLUMN paused_at timestamptz,
        ADD COLUMN declared_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN ticks jsonb NOT NULL DEFAULT '[]'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task_schedule DROP COLUMN paused_at, DROP COLUMN declared_at, DROP COLUMN ticks`);
    await runner.query(`DROP TABLE task_action`);
  }
}
