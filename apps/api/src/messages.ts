import { durationFromMs, timestampFromDate } from '@bufbuild/protobuf/wkt';
import { ACCESS_TOKEN_LIFETIME, type LoggedIn, type Session } from '@app/account';

/** A user as the contract has it. */
export function userMessage({ username, fullName, email, isEmailVerified, createdAt, roles }: LoggedIn['user']) {
  return { username, fullName, email, isEmailVerified, createdAt: timestampFromDate(createdAt), roles };
}

/** A session as the contract has it. */
export function sessionMessage({ id, createdAt, usedAt, expiresAt, client, userAgent }: Session, currentId: string) {
  return {
    id,
    createdAt: timestampFromDate(createdAt),
    lastUsedAt: timestampFromDate(usedAt),
    expiresAt: timestampFromDate(expiresAt),
    clientAddress: client,
    userAgent,
    isCurrent: id === currentId,
  };
}

/** The tokens of a session as the contract has them. */
export function tokensMessage(accessToken: string, refreshToken: string) {
  return { accessToken, accessTokenLifetime: durationFromMs(ACCESS_TOKEN_LIFETIME * 1_000), refreshToken };
}
