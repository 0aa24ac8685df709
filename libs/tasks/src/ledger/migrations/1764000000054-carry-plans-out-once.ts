import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndex } from './build-index.js';

/** A plan is carried out once; the dead are found by the key that they had; and the planner knows how states, queues, types and errors go together. */
export class CarryPlansOutOnce1764000000054 implements MigrationInterface {
  readonly name = 'CarryPlansOutOnce1764000000054';
  readonly transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE task_action ADD COLUMN IF NOT EXISTS plan uuid`);
    await runner.query(`CREATE UNIQUE INDEX IF NOT EXISTS task_action_plan ON task_action (plan) WHERE plan IS NOT NULL`);
    await buildIndex(runner, 'task_released', `(type, released_key) WHERE released_key IS NOT NULL`);
    await runner.query(`CREATE STATISTICS IF NOT EXISTS task_kinds (dependencies, mcv) ON state, queue, type, error_group FROM task`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP STATISTICS task_kinds`);
    await runner.query(`DROP INDEX CONCURRENTLY task_released`);
    await runner.query(`ALTER TABLE task_action DROP COLUMN plan`);
  }
}
