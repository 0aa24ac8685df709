import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { Config } from '@app/config';
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';
import { DataSource, type EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';

/** ECDSA on P-256, which every library for tokens knows. */
export const SIGNING_ALGORITHM = 'ES256';

/** How long a new key is published before it signs, and how long after that it is; intervals of Postgres. Others may keep the ring for five minutes. */
const RIPENS = '10 minutes';
const LINGERS = '1 day';

/** How old a key is when the daily task makes another one; an interval of Postgres. */
const ROTATES = '30 days';

/** How long the ring is believed as it was read, and how soon it is read anew for a key that is not in it. Milliseconds. */
const BELIEVED = 60_000;
const LOOKED_AGAIN = 5_000;

/** The most keys of a ring; the task leaves two or three. */
const KEYS = 20;

const CIPHER = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;

interface Key {
  readonly id: string;
  readonly publicKey: JWK;
  /** Absent where it was encrypted under another SECRET_KEY. */
  readonly privateKey: CryptoKey | undefined;
  readonly isRipe: boolean;
}

interface Row {
  readonly id: string;
  readonly publicKey: JWK;
  readonly privateKey: Buffer;
  readonly isRipe: boolean;
}

/**
 * The keys that access tokens are signed with, as a ring: the newest one signs once
 * everybody can know it, and those before it are good for as long as their tokens.
 * They are in the database, for all apis alike, their private halves encrypted.
 */
@Injectable()
export class SigningKeys {
  private readonly logger = new Logger('SigningKeys');
  private readonly secret: Buffer;
  private ring: readonly Key[] = [];
  private readAt = -Infinity;
  private reading: Promise<void> | undefined;

  constructor(
    private readonly dataSource: DataSource,
    { SECRET_KEY }: Config,
  ) {
    this.secret = Buffer.from(hkdfSync('sha256', SECRET_KEY, '', 'signing-key', 32));
  }

  /** The key to sign with. The first one that is needed is made here. */
  async signer(): Promise<{ readonly id: string; readonly privateKey: CryptoKey }> {
    await this.readWhenOlderThan(BELIEVED);
    const key = this.found() ?? (await this.makeFirst());
    return { id: key.id, privateKey: key.privateKey! };
  }

  /** The public half of a key; undefined when it is none of ours, or not any more. */
  async find(id: string): Promise<JWK | undefined> {
    await this.readWhenOlderThan(BELIEVED);
    if (!this.ring.some((key) => key.id === id)) await this.readWhenOlderThan(LOOKED_AGAIN);
    return this.ring.find((key) => key.id === id)?.publicKey;
  }

  /** The public halves of all keys, the newest first, as a JSON Web Key Set. */
  async publicKeys(): Promise<{ keys: JWK[] }> {
    // A ring without a key would be kept for minutes by whoever asked for it.
    await this.signer();
    return { keys: this.ring.map(({ id, publicKey }) => ({ ...publicKey, kid: id, alg: SIGNING_ALGORITHM, use: 'sig' })) };
  }

  /** Makes a new key, which signs from ten minutes later on. @returns its id. */
  async add(manager: EntityManager = this.dataSource.manager): Promise<string> {
    const pair = await generateKeyPair(SIGNING_ALGORITHM, { extractable: true });
    const id = uuidv7();
    await manager.query('INSERT INTO signing_key (id, public_key, private_key) VALUES ($1, $2, $3)', [
      id,
      JSON.stringify(await exportJWK(pair.publicKey)),
      this.encrypt(id, JSON.stringify(await exportJWK(pair.privateKey))),
    ]);
    return id;
  }

  /** Makes a key when the newest one is a month old, and deletes those that signed nothing for a day. @returns how many of each. */
  async rotate(manager: EntityManager): Promise<{ made: number; deleted: number }> {
    await lockRing(manager);
    const [newest] = await manager.query<{ isOld: boolean }[]>(
      `SELECT created_at <= now() - $1::interval AS "isOld" FROM signing_key ORDER BY created_at DESC LIMIT 1`,
      [ROTATES],
    );
    if (newest?.isOld) await this.add(manager);
    const [, deleted] = await manager.query<[unknown, number]>(
      `DELETE FROM signing_key AS older USING signing_key AS newer
       WHERE newer.created_at > older.created_at AND newer.created_at <= now() - $1::interval - $2::interval`,
      [RIPENS, LINGERS],
    );
    return { made: newest?.isOld ? 1 : 0, deleted };
  }

  private found(): Key | undefined {
    const usable = this.ring.filter(({ privateKey }) => privateKey);
    return usable.find(({ isRipe }) => isRipe) ?? usable.at(-1);
  }

  /** Makes a key where there is none that can sign; of several apis at once one does. */
  private async makeFirst(): Promise<Key> {
    await this.dataSource.transaction(async (manager) => {
      await lockRing(manager);
      await this.read(manager);
      if (!this.found()) await this.add(manager);
    });
    await this.read();
    const key = this.found();
    if (!key) throw new Error('a key for access tokens was made, and removed at once');
    return key;
  }

  private async readWhenOlderThan(age: number): Promise<void> {
    if (performance.now() - this.readAt < age) return;
    await (this.reading ??= this.read().finally(() => (this.reading = undefined)));
  }

  private async read(manager: EntityManager = this.dataSource.manager): Promise<void> {
    const rows = await manager.query<Row[]>(
      `SELECT id, public_key AS "publicKey", private_key AS "privateKey", created_at <= now() - $1::interval AS "isRipe"
       FROM signing_key ORDER BY created_at DESC, id DESC LIMIT ${KEYS}`,
      [RIPENS],
    );
    this.ring = await Promise.all(rows.map(async (row) => ({ ...row, privateKey: await this.privateKeyOf(row) })));
    this.readAt = performance.now();
  }

  private async privateKeyOf({ id, privateKey }: Row): Promise<CryptoKey | undefined> {
    const known = this.ring.find((key) => key.id === id);
    if (known) return known.privateKey;
    const text = this.decrypt(id, privateKey);
    if (text === undefined) {
      this.logger.warn({ keyId: id }, 'this key for access tokens was encrypted under another SECRET_KEY: it signs nothing here');
      return undefined;
    }
    return (await importJWK(JSON.parse(text) as JWK, SIGNING_ALGORITHM)) as CryptoKey;
  }

  private encrypt(id: string, text: string): Buffer {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv(CIPHER, this.secret, nonce).setAAD(Buffer.from(id));
    const content = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), content]);
  }

  private decrypt(id: string, bytes: Buffer): string | undefined {
    const decipher = createDecipheriv(CIPHER, this.secret, bytes.subarray(0, NONCE)).setAAD(Buffer.from(id));
    decipher.setAuthTag(bytes.subarray(NONCE, NONCE + TAG));
    try {
      return decipher.update(bytes.subarray(NONCE + TAG), undefined, 'utf8') + decipher.final('utf8');
    } catch {
      // Node has one error for all that was not encrypted under this key.
      return undefined;
    }
  }
}

/** One at a time changes the ring, until its transaction ends. */
async function lockRing(manager: EntityManager): Promise<void> {
  await manager.query(`SELECT pg_advisory_xact_lock(hashtextextended('signing_key', 0))`);
}
