import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn, type Relation } from 'typeorm';
import { User } from './user.entity.js';

/** The newest link that was mailed to a person; an older one is no longer known. */
@Entity('email_verification')
export class EmailVerification {
  /** The id of the task that mails it: every attempt has the same link. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'email_verification_pkey' })
  id: string;

  @Index('email_verification_user', { unique: true })
  @Column('uuid', { name: 'user_id' })
  userId: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'user_id', foreignKeyConstraintName: 'email_verification_user_fkey' })
  user: Relation<User>;

  /** The address that the link proves. */
  @Column('text')
  email: string;

  /** SHA-256 of the token. */
  @Index('email_verification_token', { unique: true })
  @Column('bytea', { name: 'token_digest' })
  tokenDigest: Buffer;

  @Index('email_verification_expiry')
  @Column('timestamptz', { name: 'expires_at' })
  expiresAt: Date;

  @Column('timestamptz', { name: 'used_at', nullable: true })
  usedAt: Date | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
