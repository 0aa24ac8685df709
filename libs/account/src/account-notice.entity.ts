import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A notice that waits to be mailed: to an address that its account may not have any more, or with the account gone. Deleted once it is sent. */
@Entity('account_notice')
export class AccountNotice {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'account_notice_pkey' })
  id: string;

  @Column('text')
  kind: string;

  @Column('text')
  email: string;

  @Column('text')
  username: string;

  /** The link that the mail carries, where it carries one. */
  @Column('uuid', { name: 'link_id', nullable: true })
  linkId: string | null;

  @Index('account_notice_created')
  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
