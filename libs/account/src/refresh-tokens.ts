import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto';

/** Bytes of a token's parts: whose session, which of its tokens, what nobody can guess, and what shows that it was ours. */
const ID = 16;
const GENERATION = 4;
const SECRET = 32;
const SEAL = 16;
const TOKEN = /^[\w-]{91}$/;

/** A refresh token, as it was issued or as it came back. */
export interface RefreshToken {
  /** What the client keeps. */
  readonly text: string;
  /** What the database keeps of it. */
  readonly digest: Buffer;
  readonly sessionId: string;
  /** How many tokens of its session came before it. */
  readonly generation: number;
}

/**
 * Makes refresh tokens, and reads them. Each is derived from the one before it, so
 * that whoever asks twice with one token can be answered with the same successor
 * though only its digest is stored; and each is sealed, so that one that was used
 * long ago is told from one that somebody made up, though nothing of it is stored.
 */
export class RefreshTokens {
  private readonly key: KeyObject;

  /** @param key without which no token can be derived or sealed. */
  constructor(key: Buffer) {
    this.key = createSecretKey(key);
  }

  /** The first token of a session. @param secret 32 random bytes. */
  first(sessionId: string, secret: Buffer): RefreshToken {
    return this.seal(sessionId, 0, secret);
  }

  /** The token after that many others. */
  successor({ text, sessionId, generation }: RefreshToken, steps = 1): RefreshToken {
    const next = this.seal(sessionId, generation + 1, this.hmac(`refresh-token:successor:${text}`));
    return steps === 1 ? next : this.successor(next, steps - 1);
  }

  /** What a token says of itself, true or not; undefined when it has not the form of one. */
  read(text: string): RefreshToken | undefined {
    if (!TOKEN.test(text)) return undefined;
    const bytes = Buffer.from(text, 'base64url');
    const hex = bytes.toString('hex', 0, ID);
    const sessionId = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
    return { text, digest: digestOf(text), sessionId, generation: bytes.readUInt32BE(ID) };
  }

  /** Whether a token was issued by us, under the key that we have now. */
  isOurs({ text }: RefreshToken): boolean {
    const bytes = Buffer.from(text, 'base64url');
    return timingSafeEqual(bytes.subarray(-SEAL), this.sealOf(bytes.subarray(0, -SEAL)));
  }

  private seal(sessionId: string, generation: number, secret: Buffer): RefreshToken {
    const content = Buffer.alloc(ID + GENERATION + SECRET);
    content.write(sessionId.replaceAll('-', ''), 'hex');
    content.writeUInt32BE(generation, ID);
    secret.copy(content, ID + GENERATION);
    const text = Buffer.concat([content, this.sealOf(content)]).toString('base64url');
    return { text, digest: digestOf(text), sessionId, generation };
  }

  private sealOf(content: Buffer): Buffer {
    return this.hmac(`refresh-token:seal:${content.toString('base64url')}`).subarray(0, SEAL);
  }

  private hmac(text: string): Buffer {
    return createHmac('sha256', this.key).update(text).digest();
  }
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
