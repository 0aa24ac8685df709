import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { Code } from './rpc-error.js';

/** The header, and gRPC metadata key, that carries the id of a request both ways. */
export const REQUEST_ID = 'x-request-id';

/** Stands for the name of a call that no method or route answers: the name it came with is the caller's text. */
export const UNKNOWN_RPC = 'unknown';

const ACCEPTABLE_ID = /^[\w.:-]{1,128}$/;
const HEALTH_CHECK = /^(?:(?:GET|HEAD) \/(?:healthz|readyz)|grpc\.health\.v1\.Health\/\w+)$/;

const logger = new Logger('Rpc');
const storage = new AsyncLocalStorage<string>();

/** The id of the request that is being handled, or undefined outside of one. */
export function currentRequestId(): string | undefined {
  return storage.getStore();
}

/** Runs the handling of a request so that {@link currentRequestId} knows it, at any depth. */
export function withRequestId<T>(requestId: string, work: () => T): T {
  return storage.run(requestId, work);
}

/** The caller's request id when it is one that may be logged and echoed, else a new one. */
export function requestIdFrom(given: unknown): string {
  return typeof given === 'string' && ACCEPTABLE_ID.test(given) ? given : randomUUID();
}

/** Logs the one line of a call: what, how it ended, how long it took; never what was in it. */
export function logCall(transport: 'http' | 'grpc', rpc: string, code: Code, startedAt: number, requestId: string): void {
  const fields = {
    rpc,
    transport,
    code: Code[code] ?? Code[Code.UNKNOWN],
    durationMs: Math.round((performance.now() - startedAt) * 10) / 10,
    requestId,
  };
  // Probes call every few seconds, and say nothing while all is well.
  if (HEALTH_CHECK.test(rpc)) logger.debug(fields, 'call');
  else logger.log(fields, 'call');
}
