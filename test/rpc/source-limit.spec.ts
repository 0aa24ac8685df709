import { Controller } from '@nestjs/common';
import { Metadata } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type CreateUserRequest,
  type ResendVerificationEmailRequest,
  RetryInfoSchema,
  UserService,
  type VerifyEmailRequest,
} from '@app/contract';
import { callIsCostly, Message, Rpc, RpcError, SourceLimiter } from '@app/rpc';
import { grpcDetails, grpcReason, Harness, infoJson, type StatusJson, restOf } from './harness.js';

const { createUser, verifyEmail } = UserService.method;

@Controller()
class UserController {
  @Rpc(createUser)
  createUser(@Message() { username }: CreateUserRequest) {
    if (username === 'taken') throw RpcError.alreadyExists('taken');
    callIsCostly();
    if (username === 'too_late') throw RpcError.alreadyExists('taken');
    return {};
  }

  @Rpc(verifyEmail)
  verifyEmail(@Message() _request: VerifyEmailRequest) {
    return {};
  }

  @Rpc(UserService.method.resendVerificationEmail)
  resendVerificationEmail(@Message() _request: ResendVerificationEmailRequest) {
    return {};
  }
}

const alice = { username: 'alice', fullName: 'Alice', email: 'alice@example.com', password: 'correct horse' };

let harness: Harness;
/** @param perMinute so few that a test sees none of them come back. */
async function start(burst: number, perMinute = 0.001, options: Parameters<Harness['start']>[2] = {}): Promise<void> {
  const sourceLimits = new Map([[createUser, new SourceLimiter({ burst, perMinute })]]);
  harness = await new Harness().start([UserController, restOf(UserService, UserController)], [UserService], {
    sourceLimits,
    limits: { refusalDelay: 0 },
    ...options,
  });
}
afterEach(() => harness.stop());

/** A call from some client, as a proxy tells it. @returns the code. */
const callers = {
  http: async (request: object, client?: string) => {
    const response = await harness.post('/v1/users', request, client === undefined ? {} : { 'x-forwarded-for': client });
    return response.ok ? 0 : ((await response.json()) as StatusJson).code;
  },
  grpc: async (request: object, client?: string) => {
    const metadata = new Metadata();
    if (client !== undefined) metadata.set('x-forwarded-for', client);
    return (await harness.grpc(createUser, request, metadata)).error?.code ?? 0;
  },
};

describe.each(['http', 'grpc'] as const)('calls over %s', (transport) => {
  const call = (request: object = alice, client?: string) => callers[transport](request, client);
  const repeat = async (count: number, request?: object, client?: string) => {
    const codes: number[] = [];
    for (let done = 0; done < count; done++) codes.push(await call(request, client));
    return codes;
  };

  it('are refused when their source has made too many, also all at once', async () => {
    await start(3);
    const codes = await Promise.all(Array.from({ length: 5 }, () => call()));
    expect(codes.sort()).toEqual([0, 0, 0, 8, 8]);
  });

  it('count a tenth when they are refused before they were costly', async () => {
    await start(2);
    expect(await repeat(10, { ...alice, fullName: '' })).toEqual(Array(10).fill(3));
    expect(await call()).toBe(0);
    expect(await call()).toBe(8);
    expect(await call({ ...alice, username: 'taken' }, undefined)).toBe(8);
  });

  it('count in full when they fail after that', async () => {
    await start(2);
    expect(await repeat(3, { ...alice, username: 'too_late' })).toEqual([6, 6, 8]);
  });

  it('count for the client that a trusted proxy names, of IPv6 for its network', async () => {
    await start(1, 0.001, { trustProxy: ['loopback'] });
    for (const [first, same, other] of [
      ['192.0.2.1', '192.0.2.1', '192.0.2.2'],
      ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8:0:2::1'],
    ]) {
      expect([await call(alice, first), await call(alice, same), await call(alice, other)]).toEqual([0, 8, 0]);
    }
  });

  it('count for the peer where nobody is trusted, whatever it says', async () => {
    await start(1);
    expect([await call(alice, '192.0.2.1'), await call(alice, '192.0.2.2')]).toEqual([0, 8]);
    expect(harness.log.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields['text'])).toEqual([
      expect.stringContaining('TRUST_PROXY is not set'),
    ]);
  });

  it('are served again at the rate of the limit', async () => {
    await start(1, 600);
    expect(await call()).toBe(0);
    await expect.poll(() => call(), { timeout: 5_000, interval: 20 }).toBe(0);
  });

  it('wait for the refusal, but for those that find too many waiting', async () => {
    await start(1, 0.001, { limits: { refusalDelay: 500, refusing: 1 } });
    expect(await call()).toBe(0);
    const startedAt = performance.now();
    const took = await Promise.all([1, 2, 3].map(() => call().then(() => performance.now() - startedAt)));
    expect(took.filter((milliseconds) => milliseconds >= 249)).toHaveLength(1);
  });

  it('of other RPCs are not counted', async () => {
    await start(1);
    expect(await repeat(2)).toEqual([0, 8]);
    expect((await harness.grpc(verifyEmail, { token: 'x' })).error).toBeUndefined();
    expect((await harness.post('/v1/verify_email', { token: 'x' })).status).toBe(200);
  });
});

it('both transports count together, and say alike when to come again', async () => {
  await start(1, 30);
  expect((await harness.post('/v1/users', alice)).status).toBe(200);
  const response = await harness.post('/v1/users', alice);
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '2']);
  expect(((await response.json()) as StatusJson).details).toEqual([
    infoJson('RATE_LIMIT_EXCEEDED'),
    { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: expect.stringMatching(/^(1\.\d+|2)s$/) as string },
  ]);
  const { error } = await harness.grpc(createUser, alice);
  expect([error?.code, grpcReason(error!)]).toEqual([8, 'RATE_LIMIT_EXCEEDED']);
  const [retry] = grpcDetails(error!, RetryInfoSchema);
  expect(Number(retry?.retryDelay?.seconds) + (retry?.retryDelay?.nanos ?? 0) / 1e9).toBeGreaterThan(1);
});
