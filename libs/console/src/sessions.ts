import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';

/** How long an operator stays logged in. Milliseconds. */
export const SESSION_LIFETIME = 12 * 60 * 60 * 1_000;

/** How long a name is that an operator may act under. */
export const MAX_NAME = 60;

/** Who is logged in. */
export interface Session {
  /** `operator`, or the name that whoever logged in has given: what is recorded beside an action. */
  readonly who: string;
  /** When it ends: milliseconds since 1970. */
  readonly until: number;
}

const session = z.object({ who: z.string().min(1).max(MAX_NAME), until: z.number() });

/**
 * The operators' sessions. Nothing is kept of one: its cookie is signed, by a key that
 * follows from the secret key and the password, so that all workers know it, one that
 * is started anew too, and a new password ends every session there is.
 */
export class Sessions {
  private readonly key: Buffer;
  private readonly passwordDigest: Buffer;

  constructor(secretKey: Buffer, password: string) {
    this.key = Buffer.from(hkdfSync('sha256', secretKey, password, 'waybill console session', 32));
    this.passwordDigest = this.digest(password);
  }

  /** In a time that does not depend on what is right of it. */
  isPassword(given: string): boolean {
    return timingSafeEqual(this.digest(given), this.passwordDigest);
  }

  /** Logs somebody in. @returns the cookie's value. */
  begin(who: string, now = Date.now()): string {
    const text = Buffer.from(JSON.stringify({ who, until: now + SESSION_LIFETIME } satisfies Session)).toString('base64url');
    const nonce = randomBytes(16).toString('base64url');
    return `${text}.${nonce}.${this.digest(`${text}.${nonce}`).toString('base64url')}`;
  }

  /** @returns undefined when the value is none that we have signed, or its time is over. */
  read(value: string | undefined, now = Date.now()): Session | undefined {
    const [text, nonce, signature, ...rest] = (value ?? '').split('.');
    if (text === undefined || nonce === undefined || signature === undefined || rest.length > 0) return undefined;
    const [given, right] = [Buffer.from(signature, 'base64url'), this.digest(`${text}.${nonce}`)];
    if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
    const found = session.parse(JSON.parse(Buffer.from(text, 'base64url').toString()));
    return found.until > now ? found : undefined;
  }

  private digest(text: string): Buffer {
    return createHmac('sha256', this.key).update(text).digest();
  }
}
