import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { type Observable, throwError } from 'rxjs';
import { currentRequestId } from './call.js';
import { grpcError } from './grpc-error.js';
import { unsupportedMediaType } from './http-binding.js';
import { sendError } from './http-error.js';
import { codeOfHttpStatus, RpcError } from './rpc-error.js';

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
      return RpcError.tooLarge();
    case 415:
      return unsupportedMediaType();
    case 429:
      return RpcError.resourceExhausted(exception.message);
    default:
      return new RpcError(codeOfHttpStatus(exception.getStatus()), exception.message);
  }
}
