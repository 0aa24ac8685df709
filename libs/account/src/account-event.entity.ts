import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** What happened to an account: who, what, from where, when. No foreign key: an account's events outlive it. */
@Entity('account_event')
@Index('account_event_user', ['userId', 'kind', 'createdAt'])
export class AccountEvent {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'account_event_pkey' })
  id: string;

  /** Whose account it was; where a call must not tell whether there is one, an id that may be nobody's. */
  @Column('uuid', { name: 'user_id' })
  userId: string;

  @Column('text')
  kind: string;

  /** The session that it was done in, or to. */
  @Column('uuid', { name: 'session_id', nullable: true })
  sessionId: string | null;

  /** The IP address that the call came from; null where no call led to it, and once the account is deleted. */
  @Column('text', { nullable: true })
  client: string | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;

  @Index('account_event_expiry')
  @Column('timestamptz', { name: 'expires_at' })
  expiresAt: Date;
}
