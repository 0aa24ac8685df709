import { type DescMethod, getOption } from '@bufbuild/protobuf';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Access, accessOption } from '@app/contract';
import { currentCall, type Identity } from './call.js';
import { RpcError } from './rpc-error.js';
import { rpcMethodOf } from './rpc.decorator.js';

/** Finds out whose an access token is. @throws RpcError UNAUTHENTICATED when it is nobody's. */
export type Authenticate = (accessToken: string) => Promise<Identity>;

/** The role that the access OPERATOR demands. */
const OPERATOR = 'operator';

/** Lets an RPC be called by whom its contract names, on both transports. Without a word there it is for whoever is signed in. */
@Injectable()
export class AccessGuard implements CanActivate {
  /** By the RPC, since an option is decoded anew whenever it is read. */
  private readonly accesses = new Map<DescMethod, Access>();

  constructor(private readonly authenticate: Authenticate) {}

  /** @throws RpcError UNAUTHENTICATED, or PERMISSION_DENIED when the person lacks the role. */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const method = rpcMethodOf(context.getHandler());
    // A page, or a health check.
    if (!method) return true;
    const access = this.accessOf(method);
    if (access === Access.PUBLIC) return true;
    const call = currentCall();
    const [, token] = /^bearer +([^\s]+)$/i.exec(call?.authorization ?? '') ?? [];
    if (!call || token === undefined) {
      throw RpcError.unauthenticated('this call needs an access token', { reason: 'ACCESS_TOKEN_MISSING' });
    }
    call.identity = await this.authenticate(token);
    call.userId = call.identity.userId;
    if (access === Access.OPERATOR && !call.identity.roles.includes(OPERATOR)) {
      throw RpcError.permissionDenied('this call is for operators');
    }
    return true;
  }

  private accessOf(method: DescMethod): Access {
    const known = this.accesses.get(method);
    if (known !== undefined) return known;
    const access = getOption(method, accessOption);
    this.accesses.set(method, access);
    return access;
  }
}
