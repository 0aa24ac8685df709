import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/**
 * A person's account; until its address is verified a sign-up that waits, beside
 * others for the same address if need be, and is deleted after a day.
 */
@Entity('users')
// On expressions, lower(…), which TypeORM cannot declare: the migrations make them.
@Index('users_username', { synchronize: false })
@Index('users_email', { synchronize: false })
@Index('users_waiting_email', { synchronize: false })
export class User {
  @PrimaryColumn('uuid')
  id: string;

  @Column('text')
  username: string;

  @Column('text', { name: 'full_name' })
  fullName: string;

  @Column('text')
  email: string;

  /** argon2id, in its own encoding. */
  @Column('text', { name: 'password_hash' })
  passwordHash: string;

  @Column('boolean', { name: 'is_email_verified', default: false })
  isEmailVerified: boolean;

  /** What the person may do beyond their own account. */
  @Column('text', { array: true, default: () => `'{}'` })
  roles: string[];

  /** By which the request that signed it up is recognised when it comes again. */
  @Index('users_request', { unique: true, where: 'request_id IS NOT NULL' })
  @Column('uuid', { name: 'request_id', nullable: true })
  requestId: string | null;

  /** The task that mailed the owner the last notice of somebody else's sign-up with this address. */
  @Column('uuid', { name: 'notice_id', nullable: true })
  noticeId: string | null;

  /** When that notice was first due to be mailed. */
  @Column('timestamptz', { name: 'noticed_at', nullable: true })
  noticedAt: Date | null;

  @Index('users_waiting', { where: 'NOT is_email_verified' })
  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
