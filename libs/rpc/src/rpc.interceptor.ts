import { create, toBinary, toJson } from '@bufbuild/protobuf';
import { type CallHandler, type ExecutionContext, Injectable, type NestInterceptor } from '@nestjs/common';
import { map, type Observable } from 'rxjs';
import { rpcMethodOf } from './rpc.decorator.js';

/** Encodes what an RPC returns, as its transport carries it; here, so that what cannot be encoded meets the filter. */
@Injectable()
export class RpcInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const method = rpcMethodOf(context.getHandler());
    if (!method) return next.handle();
    return next.handle().pipe(
      map((response: Record<string, unknown>) => {
        const message = create(method.output, response);
        return context.getType() === 'rpc'
          ? toBinary(method.output, message)
          : toJson(method.output, message, { alwaysEmitImplicit: true });
      }),
    );
  }
}
