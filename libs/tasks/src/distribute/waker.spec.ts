import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { expect, it } from 'vitest';
import { Waker } from './waker.js';

/** A connection as TypeORM has it, and what it tells its subscribers. */
function connection() {
  const waker = new Waker({ subscribers: [] } as unknown as DataSource);
  let depth = 0;
  const queryRunner = {
    get isTransactionActive() {
      return depth > 0;
    },
  } as QueryRunner;
  const done: string[] = [];
  return {
    done,
    afterCommit: (name: string) => waker.afterCommitOf({ queryRunner } as EntityManager, () => done.push(name)),
    begin() {
      depth += 1;
      waker.afterTransactionStart({ queryRunner });
    },
    commit() {
      depth -= 1;
      waker.afterTransactionCommit({ queryRunner });
    },
    rollback() {
      depth -= 1;
      waker.afterTransactionRollback({ queryRunner });
    },
  };
}

it('does at once what no transaction holds back', () => {
  const { afterCommit, done } = connection();
  afterCommit('alone');
  expect(done).toEqual(['alone']);
});

it('waits for the commit, and forgets with a rollback, also of a connection that begins anew', () => {
  const { begin, commit, rollback, afterCommit, done } = connection();
  begin();
  afterCommit('lost');
  rollback();
  begin();
  afterCommit('kept');
  expect(done).toEqual([]);
  commit();
  expect(done).toEqual(['kept']);
});

it('forgets what came after a savepoint that was rolled back, and that alone', () => {
  const { begin, commit, rollback, afterCommit, done } = connection();
  begin();
  afterCommit('before');
  begin();
  afterCommit('undone');
  rollback();
  begin();
  afterCommit('released');
  commit();
  afterCommit('after');
  expect(done).toEqual([]);
  commit();
  expect(done).toEqual(['before', 'released', 'after']);
});
