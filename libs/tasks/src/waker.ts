import { Injectable } from '@nestjs/common';
import { DataSource, type EntityManager, type EntitySubscriberInterface, type QueryRunner } from 'typeorm';

/** Workers listen on it for tasks that are due. */
export const TASK_CHANNEL = 'waybill_task';

/** The least time between two wake-ups of one process. Milliseconds. */
const GAP = 2;

/**
 * Wakes the relays when a transaction that wrote tasks has committed.
 *
 * Afterwards and not within it: Postgres lets transactions that notify commit
 * only one after the other, each waiting for the disk, and so would make
 * distributing several times slower. One wake-up stands for all commits that
 * came meanwhile. One that is lost, with the process, costs the relays' poll.
 */
@Injectable()
export class Waker implements EntitySubscriberInterface {
  private readonly writers = new WeakSet<QueryRunner>();
  private woken = false;
  private waking = false;

  constructor(private readonly dataSource: DataSource) {
    dataSource.subscribers.push(this);
  }

  /** Wakes the relays as soon as what was written through the manager is there for all to see. */
  afterCommitOf({ queryRunner }: EntityManager): void {
    if (queryRunner?.isTransactionActive) this.writers.add(queryRunner);
    else this.wake();
  }

  /** Called by TypeORM, also at the end of a savepoint. */
  afterTransactionCommit({ queryRunner }: { queryRunner: QueryRunner }): void {
    if (!queryRunner.isTransactionActive && this.writers.delete(queryRunner)) this.wake();
  }

  private wake(): void {
    this.woken = true;
    if (!this.waking) void this.notify();
  }

  private async notify(): Promise<void> {
    this.waking = true;
    while (this.woken) {
      this.woken = false;
      // Nothing is lost with a notification: its own commit need not wait for the disk. (Statements that are sent at once are one transaction.)
      await this.dataSource.query(`SET LOCAL synchronous_commit = off; NOTIFY ${TASK_CHANNEL}`).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, GAP).unref());
    }
    this.waking = false;
  }
}
