import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { sourceOf } from './client-address.js';
import { Code, RpcError } from './rpc-error.js';

/** The header, and gRPC metadata key, that carries the id of a request both ways. */
export const REQUEST_ID = 'x-request-id';

/** Stands for the name of a call that no method or route answers: the name it came with is the caller's text. */
export const UNKNOWN_RPC = 'unknown';

const ACCEPTABLE_ID = /^[\w.:-]{1,128}$/;
/** Probes call every few seconds, and say nothing while all is well. */
const HEALTH_CHECK = /^(?:(?:GET|HEAD) \/(?:healthz|readyz)|grpc\.health\.v1\.Health\/\w+)$/;

const logger = new Logger('Rpc');
const storage = new AsyncLocalStorage<Call>();

/** Who called, as far as the transport knows. */
export interface Caller {
  readonly requestId: string;
  /** The IP address of the client: of the peer, or of whoever a trusted proxy says it calls for. */
  readonly client: string;
  /** What came as `authorization`: a secret. */
  readonly authorization?: string | undefined;
  /** What the client calls itself. */
  readonly userAgent?: string | undefined;
}

/** Who is signed in. */
export interface Identity {
  readonly userId: string;
  readonly sessionId: string;
  readonly roles: readonly string[];
}

/** A call that is being handled. */
export interface Call extends Caller {
  /** Who is signed in, where the call demands that somebody is. */
  identity?: Identity;
  /** Who called, as far as that is proved. */
  userId?: string;
  /** Whether it has cost what its source's limit is there to spare. */
  isCostly: boolean;
}

/** The call that is being handled, or undefined outside of one. */
export function currentCall(): Call | undefined {
  return storage.getStore();
}

/** The id of the request that is being handled, or undefined outside of one. */
export function currentRequestId(): string | undefined {
  return storage.getStore()?.requestId;
}

/** The IP address of the client whose request is being handled, or undefined outside of one. */
export function currentClient(): string | undefined {
  return storage.getStore()?.client;
}

/** Whom the request that is being handled counts for: its client's address, or of IPv6 the network of it. Undefined outside of one. */
export function currentSource(): string | undefined {
  const client = currentClient();
  return client === undefined ? undefined : sourceOf(client);
}

/** What the client of the request that is being handled calls itself, or the empty text. It is the caller's text. */
export function currentUserAgent(): string {
  return storage.getStore()?.userAgent ?? '';
}

/**
 * Who is signed in and makes the call that is being handled.
 *
 * @throws RpcError UNAUTHENTICATED outside of an RPC for which somebody must be.
 */
export function currentIdentity(): Identity {
  const identity = storage.getStore()?.identity;
  if (!identity) throw RpcError.unauthenticated('this call needs an access token', { reason: 'ACCESS_TOKEN_MISSING' });
  return identity;
}

/** Says who makes the call that is being handled, once that is proved: its line in the log names them. */
export function identifyCaller(userId: string): void {
  const call = currentCall();
  if (call) call.userId = userId;
}

/** Says that the request that is being handled costs much from here on: whatever its answer, it counts in full against its source. */
export function callIsCostly(): void {
  const call = currentCall();
  if (call) call.isCostly = true;
}

/** Runs the handling of a call so that {@link currentCall} knows of it, at any depth. */
export function withCall<T>(call: Call, work: () => T): T {
  return storage.run(call, work);
}

/** The caller's request id when it is one that may be logged and echoed, else a new one. */
export function requestIdFrom(given: unknown): string {
  return typeof given === 'string' && ACCEPTABLE_ID.test(given) ? given : randomUUID();
}

/** Whether a call is a health check, on either transport. */
export function isHealthCheck(rpc: string): boolean {
  return HEALTH_CHECK.test(rpc);
}

/** What the line of a call says; never what was in it. */
export interface CallLine extends Pick<Call, 'requestId' | 'client' | 'userId'> {
  readonly transport: 'http' | 'grpc';
  /** `package.Service/Method`, or an HTTP method and the route. */
  readonly rpc: string;
  readonly code: Code;
  /** As `performance.now()` tells it. */
  readonly startedAt: number;
  /** Where it is traced. */
  readonly traceId?: string | undefined;
}

/** Logs the one line of a call. */
export function logCall({ rpc, transport, code, startedAt, requestId, client, userId, traceId }: CallLine): void {
  const fields = {
    rpc,
    transport,
    code: Code[code] ?? Code[Code.UNKNOWN],
    durationMs: Math.round((performance.now() - startedAt) * 10) / 10,
    requestId,
    client,
    ...(userId !== undefined && { userId }),
    ...(traceId !== undefined && { trace_id: traceId }),
  };
  if (isHealthCheck(rpc)) logger.debug(fields, 'call');
  else logger.log(fields, 'call');
}
