import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A person's account. */
@Entity('users')
// On expressions, lower(…), which TypeORM cannot declare: the migration makes them.
@Index('users_username', { synchronize: false })
@Index('users_email', { synchronize: false })
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

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
