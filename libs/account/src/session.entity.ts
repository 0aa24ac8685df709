import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn, type Relation } from 'typeorm';
import { User } from './user.entity.js';

/** A log-in that has not ended. Whatever ends one deletes its row; one whose time is over is as good as deleted. */
@Entity('session')
export class Session {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'session_pkey' })
  id: string;

  @Index('session_owner')
  @Column('uuid', { name: 'user_id' })
  userId: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'user_id', foreignKeyConstraintName: 'session_user_fkey' })
  user: Relation<User>;

  /** SHA-256 of the refresh token that is good now. */
  @Column('bytea', { name: 'refresh_digest' })
  refreshDigest: Buffer;

  /** How many refresh tokens came before that one. */
  @Column('int', { default: 0 })
  generation: number;

  /** When the tokens before it were used, the latest first; no more of them than a grace can ask for. */
  @Column('timestamptz', { name: 'rotated_at', array: true, default: () => `'{}'` })
  rotatedAt: Date[];

  /** The IP address that it was last used from, as far as a refresh is a use. */
  @Column('text')
  client: string;

  /** What that client called itself, cut. */
  @Column('text', { name: 'user_agent' })
  userAgent: string;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;

  @Column('timestamptz', { name: 'used_at', default: () => 'now()' })
  usedAt: Date;

  /** When it ends by itself, unless it is used before. */
  @Index('session_expiry')
  @Column('timestamptz', { name: 'expires_at' })
  expiresAt: Date;
}
