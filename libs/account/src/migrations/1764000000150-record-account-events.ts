import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What happens to accounts is kept for a time. */
export class RecordAccountEvents1764000000150 implements MigrationInterface {
  readonly name = 'RecordAccountEvents1764000000150';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE account_event (
        id uuid NOT NULL,
        user_id uuid NOT NULL,
        kind text NOT NULL,
        session_id uuid,
        client text,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT account_event_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`CREATE INDEX account_event_user ON account_event (user_id, kind, created_at)`);
    await runner.query(`CREATE INDEX account_event_expiry ON account_event (expires_at)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE account_event`);
  }
}
