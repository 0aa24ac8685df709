import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Links to a new address are counted for it, and a notice may carry a link. */
export class ChangeAddresses1764000000152 implements MigrationInterface {
  readonly name = 'ChangeAddresses1764000000152';

  async up(runner: QueryRunner): Promise<void> {
    // TypeORM cannot declare an index on an expression; the entity names it as not synchronised.
    await runner.query(`CREATE INDEX account_link_address ON account_link (lower(email), created_at)`);
    await runner.query(`ALTER TABLE account_notice ADD COLUMN link_id uuid`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE account_notice DROP COLUMN link_id`);
    await runner.query(`DROP INDEX account_link_address`);
  }
}
