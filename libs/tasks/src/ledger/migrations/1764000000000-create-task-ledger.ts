import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The ledger of tasks, the queues that are paused, and the periodic tasks' schedules. */
export class CreateTaskLedger1764000000000 implements MigrationInterface {
  readonly name = 'CreateTaskLedger1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    // Rows live for seconds: vacuum early, and leave room for in-page updates.
    await runner.query(`
      CREATE TABLE task (
        id uuid NOT NULL,
        type text NOT NULL,
        queue text NOT NULL,
        payload jsonb NOT NULL,
        version integer NOT NULL DEFAULT 1,
        state text NOT NULL DEFAULT 'pending',
        options jsonb NOT NULL,
        run_at timestamptz NOT NULL DEFAULT now(),
        request_id text,
        unique_key text,
        unique_until timestamptz,
        generation integer NOT NULL DEFAULT 0,
        delivery integer NOT NULL DEFAULT 0,
        failures integer NOT NULL DEFAULT 0,
        crashes integer NOT NULL DEFAULT 0,
        history jsonb NOT NULL DEFAULT '[]',
        reason text,
        error text,
        progress jsonb,
        result jsonb,
        created_at timestamptz NOT NULL DEFAULT now(),
        dispatched_at timestamptz,
        verified_at timestamptz,
        finished_at timestamptz,
        keep_until timestamptz,
        CONSTRAINT task_pkey PRIMARY KEY (id)
      ) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)`);
    await runner.query(`CREATE INDEX task_pending ON task (id) WHERE state = 'pending'`);
    await runner.query(`CREATE INDEX task_dispatched ON task (verified_at) WHERE state = 'dispatched'`);
    await runner.query(`CREATE INDEX task_finished ON task (finished_at) WHERE state IN ('dead', 'completed')`);
    await runner.query(`CREATE UNIQUE INDEX task_unique ON task (type, unique_key) WHERE unique_key IS NOT NULL`);
    await runner.query(`
      CREATE TABLE task_queue_pause (
        queue text NOT NULL,
        paused_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT task_queue_pause_pkey PRIMARY KEY (queue)
      )`);
    await runner.query(`
      CREATE TABLE task_schedule (
        type text NOT NULL,
        cron text NOT NULL,
        timezone text NOT NULL,
        next_at timestamptz NOT NULL,
        CONSTRAINT task_schedule_pkey PRIMARY KEY (type)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE task_schedule`);
    await runner.query(`DROP TABLE task_queue_pause`);
    await runner.query(`DROP TABLE task`);
  }
}
