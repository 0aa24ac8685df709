import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Links to accounts, beside those that prove the address of a sign-up; and notices that wait to be mailed. */
export class MailLinksAndNotices1764000000151 implements MigrationInterface {
  readonly name = 'MailLinksAndNotices1764000000151';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE account_link (
        id uuid NOT NULL,
        user_id uuid NOT NULL,
        purpose text NOT NULL,
        email text NOT NULL,
        token_digest bytea NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT account_link_pkey PRIMARY KEY (id),
        CONSTRAINT account_link_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
      )`);
    await runner.query(`CREATE UNIQUE INDEX account_link_token ON account_link (token_digest)`);
    await runner.query(`CREATE INDEX account_link_user ON account_link (user_id, purpose, created_at)`);
    await runner.query(`CREATE INDEX account_link_expiry ON account_link (expires_at)`);
    await runner.query(`
      CREATE TABLE account_notice (
        id uuid NOT NULL,
        kind text NOT NULL,
        email text NOT NULL,
        username text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT account_notice_pkey PRIMARY KEY (id)
      )`);
    await runner.query(`CREATE INDEX account_notice_created ON account_notice (created_at)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE account_notice`);
    await runner.query(`DROP TABLE account_link`);
  }
}
