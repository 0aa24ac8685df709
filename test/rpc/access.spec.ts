import { randomUUID } from 'node:crypto';
import { clearExtension, create, setExtension } from '@bufbuild/protobuf';
import { MethodOptionsSchema } from '@bufbuild/protobuf/wkt';
import { Metadata } from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { Access, accessOption, UserService } from '@app/contract';
import { currentIdentity, Message, Rpc, RpcError } from '@app/rpc';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { Harness, restOf } from './harness.js';

const { getUser } = UserService.method;

@Controller()
class OperatorController {
  @Rpc(getUser)
  getUser(@Message() _request: object) {
    return { user: { username: currentIdentity().userId } };
  }
}

const harness = new Harness();
beforeAll(async () => {
  // No RPC of the contract is for operators yet: this one is, for as long as this file runs.
  getUser.proto.options ??= create(MethodOptionsSchema);
  setExtension(getUser.proto.options, accessOption, Access.OPERATOR);
  await harness.start([OperatorController, restOf(UserService, OperatorController)], [UserService], {
    authenticate: (token) => {
      if (token === 'nobody') return Promise.reject(RpcError.unauthenticated('no', { reason: 'ACCESS_TOKEN_INVALID' }));
      return Promise.resolve({ userId: token, sessionId: 's', roles: token === 'ada' ? ['operator'] : ['editor'] });
    },
  });
});
afterAll(async () => {
  clearExtension(getUser.proto.options!, accessOption);
  await harness.stop();
});

it.each([
  ['an operator', 'ada', Code.OK, 200],
  ['somebody with another role', 'grace', Code.PERMISSION_DENIED, 403],
  ['a token that is nobody’s', 'nobody', Code.UNAUTHENTICATED, 401],
  ['no token', undefined, Code.UNAUTHENTICATED, 401],
] as const)('an RPC for operators answers %s on both transports', async (_who, token, code, status) => {
  const [overGrpc, overHttp] = [randomUUID(), randomUUID()];
  const metadata = new Metadata();
  metadata.set('x-request-id', overGrpc);
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  const { error, response } = await harness.grpc(getUser, {}, metadata);
  expect(error?.code ?? Code.OK).toBe(code);
  expect(response?.user?.username).toBe(code === Code.OK ? token : undefined);
  const answer = await harness.fetch('/v1/users/me', {
    headers: { 'x-request-id': overHttp, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
  });
  expect(answer.status).toBe(status);
  await answer.body?.cancel();
  for (const [requestId, transport] of [
    [overGrpc, 'grpc'],
    [overHttp, 'http'],
  ] as const) {
    expect((await harness.log.call(requestId)).fields).toMatchObject({
      rpc: 'account.v1.UserService/GetUser',
      transport,
      code: Code[code],
    });
  }
});
