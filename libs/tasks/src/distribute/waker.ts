import { Injectable } from '@nestjs/common';
import { escapeLiteral } from 'pg';
import { DataSource, type EntityManager, type EntitySubscriberInterface, type QueryRunner } from 'typeorm';
import { TASK_CHANNEL } from '../ledger/channels.js';

/** The least time between two wake-ups of one process. Milliseconds. */
const GAP = 2;

type TransactionEvent = Readonly<Record<'queryRunner', QueryRunner>>;

/** What is to be done when a transaction has committed, and how much of it there was at the beginning and at each savepoint. */
interface OpenTransaction {
  readonly works: (() => void)[];
  readonly savepoints: number[];
}

/**
 * Wakes the workers when a transaction that wrote tasks has committed.
 *
 * Afterwards and not within it: Postgres lets transactions that notify commit
 * only one after the other, each waiting for the disk, and so would make
 * distributing several times slower. One wake-up stands for all commits that
 * came meanwhile. One that is lost, with the process, costs the workers' poll.
 */
@Injectable()
export class Waker implements EntitySubscriberInterface {
  private readonly open = new WeakMap<QueryRunner, OpenTransaction>();
  private readonly woken = new Set<string>();
  private waking = false;

  constructor(private readonly dataSource: DataSource) {
    dataSource.subscribers.push(this);
  }

  /** Does something as soon as what was written through the manager is there for all to see, and never if it is rolled back. */
  afterCommitOf({ queryRunner }: EntityManager, work: () => void): void {
    if (!queryRunner?.isTransactionActive) return work();
    this.openOf(queryRunner).works.push(work);
  }

  /** Called by TypeORM, as the next two are, for a savepoint too. */
  afterTransactionStart({ queryRunner }: TransactionEvent): void {
    const { savepoints, works } = this.openOf(queryRunner);
    savepoints.push(works.length);
  }

  afterTransactionCommit({ queryRunner }: TransactionEvent): void {
    const { savepoints, works } = this.openOf(queryRunner);
    savepoints.pop();
    if (queryRunner.isTransactionActive) return;
    this.open.delete(queryRunner);
    for (const work of works) work();
  }

  afterTransactionRollback({ queryRunner }: TransactionEvent): void {
    const { savepoints, works } = this.openOf(queryRunner);
    works.length = savepoints.pop() ?? 0;
    if (!queryRunner.isTransactionActive) this.open.delete(queryRunner);
  }

  /** Says that a queue has something to do. */
  wake(queue: string): void {
    this.woken.add(queue);
    if (!this.waking) void this.notify();
  }

  private openOf(queryRunner: QueryRunner): OpenTransaction {
    let transaction = this.open.get(queryRunner);
    if (!transaction) {
      transaction = { works: [], savepoints: [] };
      this.open.set(queryRunner, transaction);
    }
    return transaction;
  }

  private async notify(): Promise<void> {
    this.waking = true;
    while (this.woken.size > 0) {
      const queues = escapeLiteral([...this.woken].join(','));
      this.woken.clear();
      // Nothing is lost with a notification: its own commit need not wait for the disk. (Statements that are sent at once are one transaction.)
      await this.dataSource.query(`SET LOCAL synchronous_commit = off; NOTIFY ${TASK_CHANNEL}, ${queues}`).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, GAP).unref());
    }
    this.waking = false;
  }
}
