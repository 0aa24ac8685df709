import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a buried task's unique key was, so that a redrive can take it back. */
export class KeepReleasedKeys1764000000020 implements MigrationInterface {
  readonly name = 'KeepReleasedKeys1764000000020';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task ADD COLUMN released_key text`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task DROP COLUMN released_key`);
  }
}
