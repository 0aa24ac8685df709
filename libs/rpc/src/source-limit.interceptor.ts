import type { DescMethod } from '@bufbuild/protobuf';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import { catchError, type Observable, throwError } from 'rxjs';
import { currentCall } from './call.js';
import { sourceOf } from './client-address.js';
import { rpcMethodOf } from './rpc.decorator.js';
import type { SourceLimiter } from './source-limiter.js';

/** How much a call counts that is refused before it has cost anything. */
const REFUSED_WEIGHT = 0.1;

/** Which RPCs count against their source, and how much. */
export interface SourceLimit {
  readonly limiter: SourceLimiter;
  /**
   * How much a call of each counts, at least 0.1; the others are not counted. One that fails, and was not said to be
   * costly (`callIsCostly()`), counts 0.1.
   */
  readonly weights: ReadonlyMap<DescMethod, number>;
}

/** Refuses calls of sources that have made too many, before the request is decoded, on both transports. */
@Injectable()
export class SourceLimitInterceptor implements NestInterceptor {
  constructor(private readonly limit: SourceLimit) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { limiter, weights } = this.limit;
    const method = rpcMethodOf(context.getHandler());
    const weight = method && weights.get(method);
    const call = currentCall();
    if (weight === undefined || !call) return next.handle();
    const source = sourceOf(call.client);
    // The whole weight at first, or calls that come at once would all pass.
    limiter.take(source, weight);
    // A caller that goes away gets nothing back: the work may still be done.
    return next.handle().pipe(
      catchError((error: unknown) => {
        if (!call.isCostly) limiter.giveBack(source, weight - REFUSED_WEIGHT);
        return throwError(() => error);
      }),
    );
  }
}
