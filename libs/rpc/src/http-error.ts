import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Code, codeOfHttpStatus, type RpcError } from './rpc-error.js';

const codes = new WeakMap<FastifyRequest, Code>();

/** Answers an HTTP request with an error. */
export function sendError(reply: FastifyReply, error: RpcError): void {
  codes.set(reply.request, error.code);
  if (error.retryDelay !== undefined) reply.header('retry-after', retryAfter(error.retryDelay));
  // What kind of credentials would help (RFC 6750); a log-in that fails says it too, because every 401 must.
  if (error.httpStatus === 401) reply.header('www-authenticate', 'Bearer realm="waybill"');
  void reply.code(error.httpStatus).header('content-type', 'application/json').send(JSON.stringify(error.toStatusJson()));
}

/** The header's value: whole seconds, and never sooner than was asked for. */
function retryAfter(milliseconds: number): string {
  return String(Math.max(1, Math.ceil(milliseconds / 1_000)));
}

/** The canonical code that an HTTP request was answered with. */
export function answeredCode(reply: FastifyReply): Code {
  return codes.get(reply.request) ?? codeOfHttpStatus(reply.statusCode);
}
