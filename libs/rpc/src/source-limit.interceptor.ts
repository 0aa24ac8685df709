import { setTimeout as wait } from 'node:timers/promises';
import type { DescMethod } from '@bufbuild/protobuf';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import { catchError, defer, type Observable } from 'rxjs';
import { type Call, currentCall } from './call.js';
import { sourceOf } from './client-address.js';
import type { Limits } from './limits.js';
import { Code, RpcError } from './rpc-error.js';
import { rpcMethodOf } from './rpc.decorator.js';
import type { SourceLimiter } from './source-limiter.js';

/**
 * Refuses calls of sources that have made too many, before the request is decoded,
 * on both transports. A call that fails and was not said to be costly
 * (`callIsCostly()`) counts a tenth. A refusal takes a while: a client that calls
 * again as soon as it is answered would leave the process no time for the others.
 */
@Injectable()
export class SourceLimitInterceptor implements NestInterceptor {
  private refusing = 0;

  /** @param limiters of the RPCs that are limited. */
  constructor(
    private readonly limiters: ReadonlyMap<DescMethod, SourceLimiter>,
    private readonly limits: Pick<Limits, 'refusalDelay' | 'refusing'>,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const method = rpcMethodOf(context.getHandler());
    const limiter = method && this.limiters.get(method);
    const call = currentCall();
    if (!limiter || !call) return next.handle();
    return defer(() => counted(limiter, call, next)).pipe(catchError((error: unknown) => this.refuse(error)));
  }

  private async refuse(error: unknown): Promise<never> {
    if (error instanceof RpcError && error.code === Code.RESOURCE_EXHAUSTED && this.refusing < this.limits.refusing) {
      this.refusing++;
      // Not all for the same time, or they would all come again at the same time.
      await wait(this.limits.refusalDelay * (0.5 + Math.random()));
      this.refusing--;
    }
    throw error;
  }
}

function counted(limiter: SourceLimiter, call: Call, next: CallHandler): Observable<unknown> {
  const source = sourceOf(call.client);
  // In full at first, or calls that come at once would all pass.
  limiter.take(source);
  // A caller that goes away gets nothing back: the work may still be done.
  return next.handle().pipe(
    catchError((error: unknown) => {
      if (!call.isCostly) limiter.giveBack(source);
      throw error;
    }),
  );
}
