import type { MigrationInterface, QueryRunner } from 'typeorm';
import { buildIndex } from './build-index.js';

/** The indexes that an operator's questions read along; built beside the traffic, since the ledger may be large. */
export class IndexWhatOperatorsSee1764000000052 implements MigrationInterface {
  readonly name = 'IndexWhatOperatorsSee1764000000052';
  readonly transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await buildIndex(runner, 'task_dead', `(queue, type, error_group, finished_at, id) WHERE state = 'dead'`);
    await buildIndex(runner, 'task_out', `(queue, run_at, id) WHERE state = 'dispatched'`);
    // In the place of one that knew no state: a page of the completed would read past all the dead.
    await buildIndex(runner, 'task_ended', `(state, finished_at, id) WHERE state IN ('dead', 'completed')`);
    await runner.query(`DROP INDEX CONCURRENTLY IF EXISTS task_finished`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await buildIndex(runner, 'task_finished', `(finished_at) WHERE state IN ('dead', 'completed')`);
    for (const index of ['task_ended', 'task_out', 'task_dead']) await runner.query(`DROP INDEX CONCURRENTLY ${index}`);
  }
}
