import type { MigrationInterface, QueryRunner } from 'typeorm';

/** People, and the links that prove their addresses. */
export class CreateUsers1764000000001 implements MigrationInterface {
  readonly name = 'CreateUsers1764000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE users (
        id uuid NOT NULL,
        username text NOT NULL,
        full_name text NOT NULL,
        email text NOT NULL,
        password_hash text NOT NULL,
        is_email_verified boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT users_pkey PRIMARY KEY (id)
      )`);
    // TypeORM cannot declare an index on an expression; the entity names these two as not synchronised.
    await runner.query(`CREATE UNIQUE INDEX users_username ON users (lower(username))`);
    await runner.query(`CREATE UNIQUE INDEX users_email ON users (lower(email))`);
    await runner.query(`
      CREATE TABLE email_verification (
        id uuid NOT NULL,
        user_id uuid NOT NULL,
        email text NOT NULL,
        token_digest bytea NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT email_verification_pkey PRIMARY KEY (id),
        CONSTRAINT email_verification_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`CREATE UNIQUE INDEX email_verification_user ON email_verification (user_id)`);
    await runner.query(`CREATE UNIQUE INDEX email_verification_token ON email_verification (token_digest)`);
    await runner.query(`CREATE INDEX email_verification_expiry ON email_verification (expires_at)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE email_verification`);
    await runner.query(`DROP TABLE users`);
  }
}
