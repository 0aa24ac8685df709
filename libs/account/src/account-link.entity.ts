import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn, type Relation } from 'typeorm';
import { User } from './user.entity.js';

/** A link that was mailed to whoever has an account; those that prove the address of a sign-up are `EmailVerification`s. */
@Entity('account_link')
// On an expression, lower(email), which TypeORM cannot declare: the migration makes it.
@Index('account_link_address', { synchronize: false })
@Index('account_link_user', ['userId', 'purpose', 'createdAt'])
export class AccountLink {
  /** Its token is derived from it: every attempt to mail it mails one link. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'account_link_pkey' })
  id: string;

  @Column('uuid', { name: 'user_id' })
  userId: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'user_id', foreignKeyConstraintName: 'account_link_user_fkey' })
  user: Relation<User>;

  @Column('text')
  purpose: string;

  /** The address that it was mailed to. */
  @Column('text')
  email: string;

  /** SHA-256 of the token. */
  @Index('account_link_token', { unique: true })
  @Column('bytea', { name: 'token_digest' })
  tokenDigest: Buffer;

  @Index('account_link_expiry')
  @Column('timestamptz', { name: 'expires_at' })
  expiresAt: Date;

  /** When it was redeemed, or became void because another one was. */
  @Column('timestamptz', { name: 'used_at', nullable: true })
  usedAt: Date | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
