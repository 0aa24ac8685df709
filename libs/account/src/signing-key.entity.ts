import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A key that access tokens are signed with, or were until a while ago. */
@Entity('signing_key')
export class SigningKey {
  /** Named by the `kid` of the tokens that it has signed. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'signing_key_pkey' })
  id: string;

  /** The public half, as a JWK: what others check tokens with. */
  @Column('jsonb', { name: 'public_key' })
  publicKey: Record<string, string>;

  /** The private half, encrypted with a key that is derived from SECRET_KEY. */
  @Column('bytea', { name: 'private_key' })
  privateKey: Buffer;

  @Column('timestamptz', { name: 'created_at', default: () => 'now()' })
  createdAt: Date;
}
