import { toJsonString } from '@bufbuild/protobuf';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { StatusSchema } from '@app/contract';
import { type Code, codeOfHttpStatus, httpStatusOf, type RpcError } from './rpc-error.js';

const codes = new WeakMap<FastifyRequest, Code>();

/** The google.rpc.Status of an error, as JSON. */
export function errorBody(error: RpcError): string {
  const { status, registry } = error.toStatus();
  return toJsonString(StatusSchema, status, { alwaysEmitImplicit: true, registry });
}

/** Answers an HTTP request with an error; `httpStatus` where HTTP has a finer word than the code's. */
export function sendError(reply: FastifyReply, error: RpcError, httpStatus = httpStatusOf(error.code)): void {
  codes.set(reply.request, error.code);
  void reply.code(httpStatus).header('content-type', 'application/json').send(errorBody(error));
}

/** The canonical code that an HTTP request was answered with. */
export function answeredCode(reply: FastifyReply): Code {
  return codes.get(reply.request) ?? codeOfHttpStatus(reply.statusCode);
}
