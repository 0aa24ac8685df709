import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * A person may have several verification links at a time; how many were mailed to
 * an address can be counted. Workers of the first release, whose `ON CONFLICT`
 * needs the unique index, can issue no link from now on: their tasks fail, and are
 * retried until a newer worker has them.
 */
export class KeepVerificationLinks1764000000010 implements MigrationInterface {
  readonly name = 'KeepVerificationLinks1764000000010';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP INDEX email_verification_user`);
    await runner.query(`CREATE INDEX email_verification_user ON email_verification (user_id)`);
    // TypeORM cannot declare an index on an expression; the entity names it as not synchronised.
    await runner.query(`CREATE INDEX email_verification_address ON email_verification (lower(email), created_at)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP INDEX email_verification_address`);
    await runner.query(`DROP INDEX email_verification_user`);
    await runner.query(`
      DELETE FROM email_verification AS older USING email_verification AS newer
      WHERE older.user_id = newer.user_id AND older.id < newer.id`);
    await runner.query(`CREATE UNIQUE INDEX email_verification_user ON email_verification (user_id)`);
  }
}
