import { createHmac, hash } from 'node:crypto';
import type { EntityManager } from 'typeorm';

/** 32 bytes in base64url. */
const TOKEN = /^[\w-]{43}$/;

/**
 * The token of a link: derived from its id, so that it is stored nowhere and every
 * attempt to mail the link has the same one.
 *
 * @param use what the link is for; the same id under two uses has two tokens.
 * @param id a version 7 UUID, known to nobody outside.
 */
export function linkToken(secretKey: Buffer, use: string, id: string): string {
  return createHmac('sha256', secretKey).update(`${use}:${id}`).digest('base64url');
}

/** Whether a text may be a token of ours. */
export function isLinkToken(text: string): boolean {
  return TOKEN.test(text);
}

/** What is stored of a token. */
export function tokenDigest(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

/**
 * SQL that gives a link of an account its time anew, before it is mailed: $1 its
 * id, $2 the digest of its token, which is another one than before under another
 * SECRET_KEY, $3 the time as an interval.
 */
export const RENEW_LINK = 'UPDATE account_link SET token_digest = $2, expires_at = now() + $3::interval WHERE id = $1';

/** One at a time for an address, until the transaction ends. */
export async function lockAddress(manager: EntityManager, email: string): Promise<void> {
  await manager.query('SELECT pg_advisory_xact_lock(hashtextextended(lower($1), 0))', [email]);
}
