import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { type Identity, RpcError } from '@app/rpc';
import { decodeProtectedHeader, errors, type JWK, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { Sessions } from './sessions.js';
import { SIGNING_ALGORITHM, SigningKeys } from './signing-keys.js';

/** How long an access token is good for, in seconds. */
export const ACCESS_TOKEN_LIFETIME = 15 * 60;

/** How far the clocks of two apis may be apart, in seconds. */
const CLOCK_TOLERANCE = 60;

/** Whom the tokens are for, and which client gets them: there is one of each. */
const AUDIENCE = 'waybill';

/** What no other token of ours, or of anybody who uses the same key, says of itself. */
const TYPE = 'at+jwt';

const claims = z.object({ sub: z.uuid(), sid: z.uuid() });

/** Issues access tokens (RFC 9068), and finds out whose one is. */
@Injectable()
export class AccessTokens {
  constructor(
    private readonly keys: SigningKeys,
    private readonly sessions: Sessions,
    private readonly config: Config,
  ) {}

  async issue({ userId, sessionId, roles }: Identity): Promise<string> {
    const { id, privateKey } = await this.keys.signer();
    return new SignJWT({ sid: sessionId, client_id: AUDIENCE, roles: [...roles] })
      .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: TYPE, kid: id })
      .setIssuer(this.config.PUBLIC_URL)
      .setAudience(AUDIENCE)
      .setSubject(userId)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime(`${ACCESS_TOKEN_LIFETIME}s`)
      .sign(privateKey);
  }

  /**
   * Whose token this is. Its session is looked up: a token is worth nothing once its
   * session has ended, whatever its time, and roles are those of this moment.
   *
   * @throws RpcError UNAUTHENTICATED when it is not one of ours, is over, or its session is.
   */
  async authenticate(token: string): Promise<Identity> {
    const identity = await this.sessions.find(await this.check(token));
    if (!identity) throw RpcError.unauthenticated('this session has ended', { reason: 'SESSION_ENDED' });
    return identity;
  }

  private async check(token: string): Promise<Omit<Identity, 'roles'>> {
    const key = await this.keyOf(token);
    if (!key) throw tokenInvalid();
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [SIGNING_ALGORITHM],
        typ: TYPE,
        issuer: this.config.PUBLIC_URL,
        audience: AUDIENCE,
        clockTolerance: CLOCK_TOLERANCE,
        requiredClaims: ['exp', 'iat'],
      });
      const { sub, sid } = claims.parse(payload);
      return { userId: sub, sessionId: sid };
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw RpcError.unauthenticated('this access token is over: refresh the session', { reason: 'ACCESS_TOKEN_EXPIRED' });
      }
      if (error instanceof errors.JOSEError || error instanceof z.ZodError) throw tokenInvalid();
      throw error;
    }
  }

  private async keyOf(token: string): Promise<JWK | undefined> {
    let kid: unknown;
    try {
      ({ kid } = decodeProtectedHeader(token));
    } catch (error) {
      // What is no token at all.
      if (error instanceof TypeError) return undefined;
      throw error;
    }
    return typeof kid === 'string' ? this.keys.find(kid) : undefined;
  }
}

function tokenInvalid(): RpcError {
  return RpcError.unauthenticated('this access token is not valid', { reason: 'ACCESS_TOKEN_INVALID' });
}
