import { Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { currentClient } from '@app/rpc';
import { DataSource, type EntityManager, type EntitySubscriberInterface, type QueryRunner } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';

/** What can happen to an account, as rows and log lines name it. */
export type AccountEventKind =
  | 'signed_up'
  | 'sign_up_disowned'
  | 'email_verified'
  | 'password_reset_requested'
  | 'password_reset'
  | 'email_change_requested'
  | 'email_change_disowned'
  | 'email_changed'
  | 'email_change_undone'
  | 'user_deleted'
  | 'session_created'
  | 'session_deleted'
  | 'other_sessions_deleted'
  | 'refresh_token_reused'
  | 'password_changed'
  | 'user_updated'
  | 'role_granted'
  | 'role_revoked'
  | 'all_sessions_ended';

/** What is to be recorded; from where and when is known. */
export interface NewAccountEvent {
  /** Whose account; where a call must not tell whether there is one, an id that may be nobody's. */
  readonly userId: string;
  readonly kind: AccountEventKind;
  /** The session that it was done in, or to. */
  readonly sessionId?: string;
}

/** How long an account's events are kept; an interval of Postgres. */
const KEPT = '90 days';

/** How long those of a sign-up are that has not become an account: a flood of them must not be kept for months. */
const KEPT_OF_SIGN_UP = '2 days';

/** How long those of an id that is nobody's are, which are written so that nobody can tell: for as long as an account's are counted. */
const KEPT_OF_NOBODY = '1 day';

/** How many events of one kind an account has a day, about. What comes beyond them is in the log alone. */
const A_DAY = 100;

/**
 * SQL that records an event as a part of a statement that also makes it true.
 *
 * @param values SQL of what the event consists of. @param from the table that has one row when it has come true; it may be empty.
 */
export function recording(values: Record<'id' | 'userId' | 'kind' | 'sessionId' | 'client', string>, from?: string): string {
  const { id, userId, kind, sessionId, client } = values;
  return `INSERT INTO account_event (id, user_id, kind, session_id, client, expires_at)
    SELECT ${id}, ${userId}, ${kind}, ${sessionId}, ${client},
      now() + coalesce((SELECT CASE WHEN is_email_verified THEN '${KEPT}' ELSE '${KEPT_OF_SIGN_UP}' END FROM users WHERE users.id = ${userId}),
        '${KEPT_OF_NOBODY}')::interval
    ${from === undefined ? '' : `FROM ${from}`}
    WHERE NOT EXISTS (SELECT FROM account_event AS earlier
      WHERE earlier.user_id = ${userId} AND earlier.kind = ${kind} AND earlier.created_at > now() - interval '1 day' OFFSET ${A_DAY - 1})`;
}

const RECORD = recording({ id: '$1', userId: '$2::uuid', kind: '$3::text', sessionId: '$4', client: '$5' });

/**
 * Records what happens to accounts: a row in the caller's transaction, and once
 * that has committed a line in the log, which has neither name nor address of mail.
 */
@Injectable()
export class AccountEvents implements OnModuleInit, EntitySubscriberInterface {
  private readonly logger = new Logger('AccountEvents');
  /** Lines of transactions that have not ended; one that rolls back leaves none. */
  private readonly lines = new WeakMap<QueryRunner, NewAccountEvent[]>();

  constructor(private readonly dataSource: DataSource) {}

  onModuleInit(): void {
    this.dataSource.subscribers.push(this);
  }

  /**
   * Records an event in the transaction that makes it true. An account gets about
   * a hundred rows of a kind a day, and is said in the log each time.
   *
   * @param manager of that transaction.
   */
  async record(manager: EntityManager, event: NewAccountEvent): Promise<void> {
    const { userId, kind, sessionId } = event;
    await manager.query(RECORD, [uuidv7(), userId, kind, sessionId ?? null, currentClient() ?? null]);
    const runner = manager.queryRunner;
    if (!runner?.isTransactionActive) return this.say(event);
    this.lines.set(runner, [...(this.lines.get(runner) ?? []), event]);
  }

  /**
   * Says in the log what a statement of one's own has recorded by {@link recording},
   * once that is committed.
   */
  say({ userId, kind, sessionId }: NewAccountEvent): void {
    const client = currentClient();
    const line = { event: kind, userId, ...(sessionId !== undefined && { sessionId }), ...(client !== undefined && { client }) };
    this.logger.log(line, 'account event');
  }

  /** A sign-up has become an account: what led to that is kept for as long as what comes. */
  async keep(manager: EntityManager, userId: string): Promise<void> {
    await manager.query('UPDATE account_event SET expires_at = created_at + $2::interval WHERE user_id = $1', [userId, KEPT]);
  }

  /** For TypeORM, which calls it after every commit. */
  afterTransactionCommit({ queryRunner }: { queryRunner: QueryRunner }): void {
    // A savepoint was released: the transaction around it may still roll back.
    if (queryRunner.isTransactionActive) return;
    for (const event of this.lines.get(queryRunner) ?? []) this.say(event);
    this.lines.delete(queryRunner);
  }

  /** For TypeORM. A query runner may be used for another transaction. */
  afterTransactionRollback({ queryRunner }: { queryRunner: QueryRunner }): void {
    if (!queryRunner.isTransactionActive) this.lines.delete(queryRunner);
  }
}
