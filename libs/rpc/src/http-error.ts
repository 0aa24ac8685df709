import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Code, codeOfHttpStatus, httpStatusOf, type RpcError } from './rpc-error.js';

const codes = new WeakMap<FastifyRequest, Code>();

/** Answers an HTTP request with an error; `httpStatus` where HTTP has a finer word than the code's. */
export function sendError(reply: FastifyReply, error: RpcError, httpStatus = httpStatusOf(error.code)): void {
  codes.set(reply.request, error.code);
  void reply.code(httpStatus).header('content-type', 'application/json').send(JSON.stringify(error.toStatusJson()));
}

/** The canonical code that an HTTP request was answered with. */
export function answeredCode(reply: FastifyReply): Code {
  return codes.get(reply.request) ?? codeOfHttpStatus(reply.statusCode);
}
