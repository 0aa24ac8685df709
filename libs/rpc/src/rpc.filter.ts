import { toBinary } from '@bufbuild/protobuf';
import { Metadata } from '@grpc/grpc-js';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { type Observable, throwError } from 'rxjs';
import { StatusSchema } from '@app/contract';
import { currentRequestId } from './call.js';
import { sendError } from './http-error.js';
import { Code, codeOfHttpStatus, RpcError } from './rpc-error.js';

/** Recognises errors of the composition, such as a lost database; undefined for the others. */
export type TranslateError = (error: unknown) => RpcError | undefined;

/** Turns whatever was thrown into a canonical error, on both transports. What nobody expected is logged, and not told. */
@Catch()
export class RpcExceptionFilter implements ExceptionFilter {
  private readonly logger = new Logger('Rpc');

  constructor(private readonly translate: TranslateError) {}

  catch(thrown: unknown, host: ArgumentsHost): Observable<never> | void {
    const error = this.canonical(thrown);
    if (host.getType() === 'rpc') return throwError(() => grpcError(error));
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    if (!reply.sent) sendError(reply, error);
  }

  private canonical(thrown: unknown): RpcError {
    if (thrown instanceof RpcError) return thrown;
    if (thrown instanceof HttpException && thrown.getStatus() < 500) return frameworkError(thrown);
    const translated = this.translate(thrown);
    if (translated) return translated;
    this.logger.error({ err: thrown, requestId: currentRequestId() }, 'unexpected error');
    return RpcError.internal({ cause: thrown });
  }
}

/** What the framework refused. In our own words where its own repeat what the caller sent. */
function frameworkError(exception: HttpException): RpcError {
  switch (exception.getStatus()) {
    case 404:
      return RpcError.notFound('there is no such path');
    case 413:
      return RpcError.resourceExhausted('the request is too large');
    case 415:
      return RpcError.invalidArgument([], 'the content-type is not supported; use application/json');
    default:
      return new RpcError(codeOfHttpStatus(exception.getStatus()), exception.message);
  }
}

/** What grpc-js makes a status of. */
function grpcError(error: RpcError): { code: Code; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  if (error.details.length > 0) {
    metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, error.toStatus())));
  }
  return { code: error.code, details: error.message, metadata };
}
