import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn, type Relation } from 'typeorm';
import { User } from './user.entity.js';

/** A link that was mailed to a person. */
@Entity('email_verification')
// On an expression, lower(email), which TypeORM cannot declare: the migration makes it.
@Index('email_verification_address', { synchronize: false })
export class EmailVerification {
  /** The id of the task that mails it: every attempt has the same link. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'email_verification_pkey' })
  id: string;

  @Index('email_verification_user')
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

  /** When it was redeemed; from then on it does not verify the address once more. */
  @Column('timestamptz', { name: 'used_at', nullable: true })
  usedAt: Date | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
