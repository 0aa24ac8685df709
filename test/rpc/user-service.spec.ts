import { connect } from 'node:net';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { toBinary, create } from '@bufbuild/protobuf';
import { Metadata, status as GrpcStatus } from '@grpc/grpc-js';
import { Controller, Get } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CreateUserRequestSchema,
  type CreateUserRequest,
  type ResendVerificationEmailRequest,
  RetryInfoSchema,
  UserService,
  type VerifyEmailRequest,
} from '@app/contract';
import { Code, currentClient, currentRequestId, Message, Rpc, RpcError } from '@app/rpc';
import { grpcDetails, grpcReason, grpcViolations, Harness, infoJson, type StatusJson, restOf } from './harness.js';

const SECRET = 'canary-password-9';
const alice = { username: 'alice', fullName: "Alice O'Neil", email: 'alice@example.com', password: SECRET };

const received: CreateUserRequest[] = [];
let seenId: string | undefined;
let seenClient: string | undefined;

@Controller()
class UserController {
  @Rpc(UserService.method.createUser)
  async createUser(@Message() request: CreateUserRequest) {
    await Promise.resolve();
    seenId = currentRequestId();
    seenClient = currentClient();
    received.push(request);
    const { username, fullName, email } = request;
    if (username === 'taken') throw RpcError.alreadyExists('this username is taken', { field: 'username', reason: 'USERNAME_TAKEN' });
    if (username === 'busy') throw RpcError.resourceExhausted('too many at once', { retryDelay: 2_500 });
    return { user: { username, fullName, email, createdAt: timestampFromDate(new Date(0)) } };
  }

  @Rpc(UserService.method.verifyEmail)
  verifyEmail(@Message() request: VerifyEmailRequest) {
    if (request.token === 'lost') throw new Error('the database is lost');
    if (request.token === 'bug') throw new TypeError(`cannot read ${SECRET}`);
    if (request.token === 'unencodable') return { user: { createdAt: { seconds: 10n ** 30n } } };
    throw RpcError.failedPrecondition('the link is no longer valid');
  }

  @Rpc(UserService.method.resendVerificationEmail)
  resendVerificationEmail(@Message() _request: ResendVerificationEmailRequest) {
    return {};
  }
}

@Controller()
class OtherController {
  @Get('plain')
  plain() {
    return { plain: true };
  }

  @Get('healthz')
  healthz() {
    return { status: 'ok' };
  }
}

const harness = new Harness();

beforeAll(async () => {
  await harness.start([UserController, restOf(UserService, UserController), OtherController], [UserService], {
    translate: (error) =>
      error instanceof Error && error.message.includes('database') ? RpcError.unavailable('try again later', { cause: error }) : undefined,
  });
});
afterAll(() => harness.stop());

async function errorOf(response: Response): Promise<StatusJson> {
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const body = (await response.json()) as StatusJson;
  expect(Object.keys(body)).toEqual(['code', 'message', 'details']);
  return body;
}

describe('a call that succeeds', () => {
  it('answers ProtoJSON on HTTP, with every field, and reads both spellings', async () => {
    const { fullName, ...rest } = alice;
    const response = await harness.post('/v1/users', { ...rest, full_name: fullName, unknown: { deep: [1] } });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      user: {
        username: 'alice',
        fullName,
        email: 'alice@example.com',
        isEmailVerified: false,
        createdAt: '1970-01-01T00:00:00Z',
        roles: [],
      },
    });
    expect(received.at(-1)?.password).toBe(SECRET);
  });

  it('answers protobuf on gRPC', async () => {
    const { response } = await harness.grpc(UserService.method.createUser, alice);
    expect(response?.user).toMatchObject({ username: 'alice', fullName: alice.fullName, createdAt: { seconds: 0n } });
  });

  it('keeps 128 emoji as they are', async () => {
    const password = '🙂'.repeat(128);
    expect((await harness.post('/v1/users', { ...alice, password })).status).toBe(200);
    expect(received.at(-1)?.password).toBe(password);
    await harness.grpc(UserService.method.createUser, { ...alice, password });
    expect(received.at(-1)?.password).toBe(password);
  });

  it('answers an empty message as {}', async () => {
    const response = await harness.post('/v1/verification_emails', { email: 'a@b.co' });
    expect([response.status, await response.text()]).toEqual([200, '{}']);
  });
});

describe('request ids', () => {
  it('come back on both transports, and are known to the handler', async () => {
    const response = await harness.post('/v1/users', alice, { 'x-request-id': 'id-1' });
    expect(response.headers.get('x-request-id')).toBe('id-1');
    expect([seenId, seenClient]).toEqual(['id-1', '127.0.0.1']);
    const metadata = new Metadata();
    metadata.set('x-request-id', 'id-2');
    const answer = await harness.grpc(UserService.method.createUser, alice, metadata);
    expect(answer.metadata.get('x-request-id')).toEqual(['id-2']);
    expect(seenId).toBe('id-2');
  });

  it('are made when there is none, or none that may be logged', async () => {
    const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4/;
    const response = await harness.post('/v1/users', alice, { 'x-request-id': 'a b' });
    expect(response.headers.get('x-request-id')).toMatch(uuid);
    const metadata = new Metadata();
    metadata.set('x-request-id', 'x'.repeat(129));
    const answer = await harness.grpc(UserService.method.createUser, alice, metadata);
    expect(answer.metadata.get('x-request-id')[0]).toMatch(uuid);
  });

  it('come back on errors and on what never reaches a handler', async () => {
    for (const [path, body] of [
      ['/v1/users', '{'],
      ['/nowhere', '{}'],
      ['/v1/verify_email', '{"token":"x"}'],
    ] as const) {
      const response = await harness.post(path, body, { 'x-request-id': 'id-3' });
      expect(response.headers.get('x-request-id')).toBe('id-3');
    }
    const metadata = new Metadata();
    metadata.set('x-request-id', 'id-4');
    for (const path of ['/account.v1.UserService/CreateUser', '/account.v1.UserService/Nothing', '/nothing.Nowhere/Nothing']) {
      const { error } = await harness.grpcRaw(path, Buffer.from([0xff]), metadata);
      expect(error?.metadata.get('x-request-id')).toEqual(['id-4']);
    }
  });
});

describe('every answer on HTTP', () => {
  it.each([
    ['POST', '/v1/users', '{}'],
    ['POST', '/v1/verification_emails', '{"email":"a@b.co"}'],
    ['POST', '/nowhere', '{}'],
    ['PUT', '/v1/users', '{}'],
    ['GET', '/plain', undefined],
    ['GET', '/v1/%E0%A4%A', undefined],
  ])('to %s %s is only what its content-type says, and nobody keeps it', async (method, path, body) => {
    const response = await harness.fetch(path, { method, body: body ?? null, headers: { 'content-type': 'application/json' } });
    expect([response.headers.get('x-content-type-options'), response.headers.get('cache-control')]).toEqual(['nosniff', 'no-store']);
  });
});

describe('bad requests', () => {
  const everyField = ['username', 'fullName', 'email', 'password'];

  it('are answered with every violation, the same on both transports', async () => {
    const request = { username: 'A', fullName: '', email: 'nobody', password: 'short' };
    const body = await errorOf(await harness.post('/v1/users', request));
    expect(body.code).toBe(3);
    expect(body.details[0]?.['@type']).toBe('type.googleapis.com/google.rpc.BadRequest');
    const violations = body.details[0]?.fieldViolations ?? [];
    expect([...new Set(violations.map(({ field }) => field))]).toEqual(everyField);
    const { error } = await harness.grpc(UserService.method.createUser, request);
    expect(error?.code).toBe(GrpcStatus.INVALID_ARGUMENT);
    expect(error?.details).toBe(body.message);
    // Each transport in its own spelling.
    const inProto = violations.map(({ field, description }) => ({ field: field === 'fullName' ? 'full_name' : field, description }));
    expect(grpcViolations(error!)).toEqual(inProto);
    expect(inProto.map(({ field }) => field)).toContain('full_name');
  });

  it('name every field of an empty one', async () => {
    for (const body of ['', '{}']) {
      const response = await harness.post('/v1/users', body);
      expect(response.status).toBe(400);
      expect(new Set((await errorOf(response)).details[0]?.fieldViolations.map(({ field }) => field))).toEqual(new Set(everyField));
    }
    const noBody = await harness.fetch('/v1/users', { method: 'POST' });
    expect((await errorOf(noBody)).code).toBe(3);
    const { error } = await harness.grpcRaw('/account.v1.UserService/CreateUser', Buffer.alloc(0));
    expect(new Set(grpcViolations(error!).map(({ field }) => field))).toEqual(new Set(['username', 'full_name', 'email', 'password']));
  });

  it('name every field of a wrong type, beside the other violations, and repeat no value', async () => {
    const response = await harness.post('/v1/users', { username: 5, full_name: ['x'], email: { a: 1 }, password: 'p' });
    const text = await response.text();
    const { details } = JSON.parse(text) as StatusJson;
    expect(details[0]?.fieldViolations).toEqual([
      { field: 'username', description: 'must be a string' },
      { field: 'fullName', description: 'must be a string' },
      { field: 'email', description: 'must be a string' },
      { field: 'password', description: expect.stringContaining('at least 8') as string },
    ]);
    const secret = await (await harness.post('/v1/users', { ...alice, password: 123456789012 })).text();
    expect(secret).not.toContain('123456789012');
  });

  it.each<[string, string | Uint8Array, string]>([
    ['broken JSON', `{"username": "${SECRET}"`, 'the body is not valid JSON'],
    ['an array', '[1,2]', 'the body must be a JSON object'],
    ['null', 'null', 'the body must be a JSON object'],
    ['a string', '"x"', 'the body must be a JSON object'],
    [
      'invalid UTF-8',
      Buffer.concat([Buffer.from('{"username":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
      'the body is not valid UTF-8',
    ],
    ['__proto__', '{"__proto__":{"username":"x"}}', 'the body must not have a key "__proto__"'],
    ['an escaped __proto__', '{"\\u005f_proto__":{"username":"x"}}', 'the body must not have a key "__proto__"'],
    ['deep nesting', '['.repeat(60_000), 'the body is not valid JSON'],
    ['closed deep nesting', `${'['.repeat(30_000)}${']'.repeat(30_000)}`, 'the body must be a JSON object'],
  ])('%s is INVALID_ARGUMENT', async (_name, body, message) => {
    const response = await harness.post('/v1/users', body);
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toEqual({ code: 3, message, details: [infoJson('INVALID_ARGUMENT')] });
  });

  it('deep nesting inside of a field, known or not, is no failure of the server', async () => {
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    const known = await harness.post('/v1/users', JSON.stringify(alice).replace('"alice"', deep));
    expect((await errorOf(known)).details[0]?.fieldViolations).toEqual([{ field: 'username', description: 'must be a string' }]);
    const unknown = await harness.post('/v1/users', JSON.stringify(alice).replace('{', `{"unknown":${deep},`));
    expect(unknown.status).toBe(200);
  });

  it('lone surrogates and NUL are violations of their field', async () => {
    const response = await harness.post(
      '/v1/users',
      JSON.stringify(alice).replace(SECRET, '\\ud800-----------').replace("O'Neil", '\\u0000'),
    );
    const violations = (await errorOf(response)).details[0]?.fieldViolations ?? [];
    expect(violations).toContainEqual({ field: 'password', description: 'must be well-formed Unicode text' });
    expect(violations).toContainEqual({ field: 'fullName', description: 'must not contain the character NUL' });
    const { error } = await harness.grpc(UserService.method.createUser, { ...alice, password: `\0${SECRET}` });
    expect(error?.code).toBe(GrpcStatus.INVALID_ARGUMENT);
    expect(grpcViolations(error!)).toEqual([{ field: 'password', description: 'must not contain the character NUL' }]);
  });

  it('a field given in both spellings is a violation', async () => {
    const response = await harness.post('/v1/users', { ...alice, full_name: 'Bob' });
    expect((await errorOf(response)).details[0]?.fieldViolations).toEqual([
      { field: 'fullName', description: 'is given twice, in both of its spellings' },
    ]);
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'multipart/form-data', ''])(
    'content-type "%s" is INVALID_ARGUMENT, and 415',
    async (type) => {
      const response = await harness.post('/v1/users', JSON.stringify(alice), { 'content-type': type });
      expect(response.status).toBe(415);
      const { code, message, details } = await errorOf(response);
      expect([code, message]).toEqual([3, expect.stringContaining('application/json')]);
      expect(details).toEqual([infoJson('UNSUPPORTED_MEDIA_TYPE')]);
    },
  );

  it('bytes that are no message are INVALID_ARGUMENT on gRPC', async () => {
    const invalidUtf8 = Buffer.from([0x0a, 0x02, 0xff, 0xfe]);
    const cut = toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, alice)).subarray(0, 9);
    const nested = Buffer.alloc(60_000, 0x7b); // groups within groups
    for (const bytes of [Buffer.from([0xff]), invalidUtf8, cut, nested]) {
      const { error } = await harness.grpcRaw('/account.v1.UserService/CreateUser', bytes);
      expect([error?.code, error?.details]).toEqual([3, 'the request cannot be decoded as account.v1.CreateUserRequest']);
    }
  });

  it.each([70_000, 10_000_000])('%d bytes are RESOURCE_EXHAUSTED, and 413: sending them again helps nobody', async (size) => {
    const response = await harness.post('/v1/users', JSON.stringify({ ...alice, password: 'x'.repeat(size) }));
    expect([response.status, response.headers.get('retry-after')]).toEqual([413, null]);
    expect(await errorOf(response)).toEqual({ code: 8, message: 'the request is too large', details: [infoJson('REQUEST_TOO_LARGE')] });
    const { error } = await harness.grpc(UserService.method.createUser, { ...alice, password: 'x'.repeat(size) });
    expect([error?.code, grpcReason(error!), grpcDetails(error!, RetryInfoSchema)]).toEqual([8, 'REQUEST_TOO_LARGE', []]);
  });

  it('a body of unknown length that grows too large is RESOURCE_EXHAUSTED', async () => {
    let count = 0;
    const chunks = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(Buffer.alloc(50_000, 'x'));
        if (count++ > 2) controller.close();
      },
    });
    const response = await harness.fetch('/v1/users', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: chunks,
      duplex: 'half',
    } as RequestInit);
    expect([response.status, (await errorOf(response)).code]).toEqual([413, 8]);
  });

  it('counts in good English', async () => {
    const response = await harness.post('/v1/users', { ...alice, fullName: '' });
    expect((await errorOf(response)).details[0]?.fieldViolations).toEqual([
      { field: 'fullName', description: 'must be at least 1 character' },
    ]);
  });
});

describe('errors', () => {
  it('carry their field on both transports', async () => {
    const response = await harness.post('/v1/users', { ...alice, username: 'taken' });
    expect(response.status).toBe(409);
    const detail = { field: 'username', description: 'this username is taken' };
    expect(await errorOf(response)).toEqual({
      code: 6,
      message: 'this username is taken',
      details: [{ '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [detail] }, infoJson('USERNAME_TAKEN')],
    });
    const { error } = await harness.grpc(UserService.method.createUser, { ...alice, username: 'taken' });
    expect(error?.code).toBe(GrpcStatus.ALREADY_EXISTS);
    expect(grpcViolations(error!)).toEqual([detail]);
    expect(grpcReason(error!)).toBe('USERNAME_TAKEN');
  });

  it('say when to try again, where that helps', async () => {
    for (const [username, token, status, seconds, delay] of [
      ['busy', undefined, 429, '3', '2.500s'],
      [undefined, 'lost', 503, '1', '1s'],
    ] as const) {
      const response = username
        ? await harness.post('/v1/users', { ...alice, username })
        : await harness.post('/v1/verify_email', { token });
      expect([response.status, response.headers.get('retry-after')]).toEqual([status, seconds]);
      expect((await errorOf(response)).details).toContainEqual({ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: delay });
      const { error } = username
        ? await harness.grpc(UserService.method.createUser, { ...alice, username })
        : await harness.grpc(UserService.method.verifyEmail, { token });
      expect(grpcDetails(error!, RetryInfoSchema)).toMatchObject([
        { retryDelay: username ? { seconds: 2n, nanos: 500_000_000 } : { seconds: 1n } },
      ]);
    }
  });

  it('are written as the contract shows them', async () => {
    const response = await harness.post('/v1/users', { ...alice, password: 'short' });
    expect(await response.text()).toBe(
      '{"code":3,"message":"the request is not valid","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest",' +
        '"fieldViolations":[{"field":"password","description":"must be at least 8 characters"}]},' +
        '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INVALID_ARGUMENT","domain":"waybill"}]}',
    );
  });

  it.each([
    ['x', 400, 9, 'the link is no longer valid'],
    ['lost', 503, 14, 'try again later'],
    ['bug', 500, 13, 'internal error'],
    ['unencodable', 500, 13, 'internal error'],
  ])('token "%s" is HTTP %d and code %d', async (token, httpStatus, code, message) => {
    const response = await harness.post('/v1/verify_email', { token });
    expect(response.status).toBe(httpStatus);
    const answer = await errorOf(response);
    expect(answer).toMatchObject({ code, message });
    expect(answer.details[0]).toEqual(infoJson(Code[code]!));
    const { error } = await harness.grpc(UserService.method.verifyEmail, { token });
    expect([error?.code, error?.details, grpcReason(error!)]).toEqual([code, message, Code[code]]);
  });

  it('that nobody expected are logged with their cause', async () => {
    await harness.post('/v1/verify_email', { token: 'bug' }, { 'x-request-id': 'bug-1' });
    const line = harness.log.lines.find(({ level, fields }) => level === 'error' && fields['requestId'] === 'bug-1');
    expect(line?.fields['err']).toBeInstanceOf(TypeError);
  });

  it('an unknown path is NOT_FOUND, whatever its body', async () => {
    for (const [path, init] of [
      ['/nowhere?token=x', {}],
      ['/v1/users/', {}],
      ['/nowhere', { method: 'POST', body: '{', headers: { 'content-type': 'text/xml' } }],
    ] as const) {
      const response = await harness.fetch(path, init);
      expect(response.status).toBe(404);
      expect(await errorOf(response)).toEqual({ code: 5, message: 'there is no such path', details: [infoJson('NOT_FOUND')] });
    }
  });

  it('another method of a known path is 405 with Allow', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const response = await harness.fetch('/v1/users', {
        method,
        ...(method === 'PUT' && { body: 'x', headers: { 'content-type': 'text/xml' } }),
      });
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
      expect(await errorOf(response)).toMatchObject({ code: 12, details: [infoJson('METHOD_NOT_ALLOWED')] });
    }
    const options = await harness.fetch('/v1/users', { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
    const response = await harness.fetch('/plain', { method: 'POST' });
    expect(response.headers.get('allow')).toBe('GET, HEAD');
    expect((await harness.fetch('/plain', { method: 'HEAD' })).status).toBe(200);
  });

  it('a URL that cannot be read, and bytes that are no HTTP, are INVALID_ARGUMENT', async () => {
    const response = await harness.fetch('/v1/%E0%A4%A', { headers: { 'x-request-id': 'url-1' } });
    expect([response.status, response.headers.get('x-request-id')]).toEqual([400, 'url-1']);
    expect((await errorOf(response)).code).toBe(3);
    const answer = await new Promise<string>((resolve, reject) => {
      let text = '';
      const socket = connect(harness.httpPort, '127.0.0.1', () => socket.write('nonsense\r\n\r\n'));
      socket.on('data', (data) => (text += data.toString()));
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('{"code":3,"message":"the request is not valid HTTP","details":[{"@type"');
  });

  it('unknown gRPC methods are UNIMPLEMENTED', async () => {
    for (const path of ['/account.v1.UserService/Nothing', '/nothing.Nowhere/Nothing']) {
      const { error } = await harness.grpcRaw(path, Buffer.alloc(0));
      expect([error?.code, grpcReason(error!)]).toEqual([Code.UNIMPLEMENTED, 'UNIMPLEMENTED']);
    }
  });
});

describe('the line of a call', () => {
  const line = async (requestId: string) => {
    const { level, fields } = await harness.log.call(requestId);
    const { durationMs, ...rest }: Record<string, unknown> = fields;
    expect(durationMs).toEqual(expect.any(Number));
    expect(fields['client']).toBe('127.0.0.1');
    delete rest['client'];
    return { level, ...rest };
  };

  it.each([
    ['/v1/users', 'POST', alice, 'account.v1.UserService/CreateUser', 'OK'],
    ['/v1/users', 'POST', {}, 'account.v1.UserService/CreateUser', 'INVALID_ARGUMENT'],
    ['/v1/users?email=canary@example.com', 'PUT', {}, 'PUT /v1/users', 'UNIMPLEMENTED'],
    ['/nowhere?token=canary', 'POST', {}, 'POST unknown', 'NOT_FOUND'],
    ['/v1/%E0%A4%A', 'POST', {}, 'POST unknown', 'INVALID_ARGUMENT'],
  ])('%s on HTTP, %s %o', async (path, method, body, rpc, code) => {
    const requestId = `line-${method}-${code}-${rpc.length}`;
    await harness.fetch(path, {
      method,
      headers: { 'content-type': 'application/json', 'x-request-id': requestId },
      body: JSON.stringify(body),
    });
    expect(await line(requestId)).toEqual({ level: 'log', rpc, transport: 'http', code, requestId });
  });

  it.each([
    ['account.v1.UserService/CreateUser', Buffer.alloc(0), 'account.v1.UserService/CreateUser', 'INVALID_ARGUMENT'],
    ['account.v1.UserService/CreateUser', Buffer.alloc(70_000), 'account.v1.UserService/CreateUser', 'RESOURCE_EXHAUSTED'],
    ['account.v1.UserService/Canary', Buffer.alloc(0), 'unknown', 'UNIMPLEMENTED'],
  ])('%s on gRPC', async (path, bytes, rpc, code) => {
    const metadata = new Metadata();
    const requestId = `line-grpc-${code}`;
    metadata.set('x-request-id', requestId);
    await harness.grpcRaw(`/${path}`, bytes, metadata);
    expect(await line(requestId)).toEqual({ level: 'log', rpc, transport: 'grpc', code, requestId });
  });

  it('takes nobody’s word for whom they call', async () => {
    await harness.post('/v1/users', alice, { 'x-request-id': 'spoof-1', 'x-forwarded-for': '192.0.2.1' });
    expect(await line('spoof-1')).toMatchObject({ code: 'OK' });
  });

  it('of a health check is for debugging', async () => {
    await harness.fetch('/healthz', { headers: { 'x-request-id': 'health-1' } });
    expect(await line('health-1')).toMatchObject({ level: 'debug', rpc: 'GET /healthz', code: 'OK' });
  });

  it('is one a call, and none holds what was sent', async () => {
    const ids = harness.log.calls.map(({ fields }) => fields['requestId']);
    const repeated = ids.filter((id, index) => ids.indexOf(id) !== index && !/^id-\d$/.test(String(id)));
    expect(repeated).toEqual([]);
    const text = JSON.stringify(harness.log.calls);
    for (const canary of [SECRET, 'canary', 'alice', 'example.com', 'token=']) expect(text).not.toContain(canary);
  });
});
