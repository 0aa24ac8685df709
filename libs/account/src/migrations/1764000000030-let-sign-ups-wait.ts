import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Several sign-ups may wait for one address, and the first that is verified has
 * it; a request that signed somebody up can be recognised; an owner's notices
 * can be counted.
 *
 * Accounts that are verified keep everything. Of the last release's sign-ups that
 * are not verified, those older than a day reserve nothing any more, and
 * `account.purge_sign_ups` deletes them on its first run.
 */
export class LetSignUpsWait1764000000030 implements MigrationInterface {
  readonly name = 'LetSignUpsWait1764000000030';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE users ADD COLUMN request_id uuid, ADD COLUMN notice_id uuid, ADD COLUMN noticed_at timestamptz`);
    await runner.query(`CREATE UNIQUE INDEX users_request ON users (request_id) WHERE request_id IS NOT NULL`);
    // TypeORM cannot declare an index on an expression; the entity names these two as not synchronised.
    await runner.query(`DROP INDEX users_email`);
    await runner.query(`CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE is_email_verified`);
    await runner.query(`CREATE INDEX users_waiting_email ON users (lower(email), created_at) WHERE NOT is_email_verified`);
    await runner.query(`CREATE INDEX users_waiting ON users (created_at) WHERE NOT is_email_verified`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP INDEX users_waiting`);
    await runner.query(`DROP INDEX users_waiting_email`);
    // One account an address again: the verified one, or else the newest.
    await runner.query(`
      DELETE FROM users WHERE id IN (
        SELECT id FROM (
          SELECT id, row_number() OVER (PARTITION BY lower(email) ORDER BY is_email_verified DESC, created_at DESC, id DESC) AS place FROM users
        ) AS ranked WHERE place > 1)`);
    await runner.query(`DROP INDEX users_email`);
    await runner.query(`CREATE UNIQUE INDEX users_email ON users (lower(email))`);
    await runner.query(`DROP INDEX users_request`);
    await runner.query(`ALTER TABLE users DROP COLUMN request_id, DROP COLUMN notice_id, DROP COLUMN noticed_at`);
  }
}
