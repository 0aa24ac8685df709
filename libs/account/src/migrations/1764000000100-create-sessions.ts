import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Log-ins, the keys that their access tokens are signed with, and the roles of people. */
export class CreateSessions1764000000100 implements MigrationInterface {
  readonly name = 'CreateSessions1764000000100';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE users ADD COLUMN roles text[] NOT NULL DEFAULT '{}'`);
    await runner.query(`
      CREATE TABLE session (
        id uuid NOT NULL,
        user_id uuid NOT NULL,
        refresh_digest bytea NOT NULL,
        generation int NOT NULL DEFAULT 0,
        rotated_at timestamptz[] NOT NULL DEFAULT '{}',
        client text NOT NULL,
        user_agent text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        used_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT session_pkey PRIMARY KEY (id),
        CONSTRAINT session_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`CREATE INDEX session_owner ON session (user_id)`);
    await runner.query(`CREATE INDEX session_expiry ON session (expires_at)`);
    await runner.query(`
      CREATE TABLE signing_key (
        id uuid NOT NULL,
        public_key jsonb NOT NULL,
        private_key bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT signing_key_pkey PRIMARY KEY (id)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE signing_key`);
    await runner.query(`DROP TABLE session`);
    await runner.query(`ALTER TABLE users DROP COLUMN roles`);
  }
}
