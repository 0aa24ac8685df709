import { once } from 'node:events';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { CreateUserRequestSchema, UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code, httpPath } from '../support/callers.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, requestPasswordReset, resendVerificationEmail, resetPassword, verifyEmail } = UserService.method;

let waybill: Waybill;
afterAll(() => waybill?.close());

/** Starts the api anew, to which a header tells the client. An empty variable has its default. */
async function startApi(environment: Readonly<Record<string, string>>): Promise<void> {
  if (waybill) await waybill.api.stop();
  waybill ??= await Waybill.create('postgres');
  await waybill.startApi({ TRUST_PROXY: 'loopback', ...environment });
}

const from = (client: string) => ({ 'x-forwarded-for': client });
const signUp = (transport: 'http' | 'grpc', client: string) => waybill[transport].call(createUser, somebody(), from(client));
const transportOf = (index: number) => (index % 2 === 0 ? 'http' : 'grpc');

describe('by default a source', () => {
  beforeAll(() => startApi({ SIGN_UP_BURST: '', SIGN_UPS_PER_MINUTE: '' }));

  it('signs up 100 people at once on both transports together, and others are served beside it', async () => {
    const startedAt = Date.now();
    const flood = await Promise.all(Array.from({ length: 130 }, (_, index) => signUp(transportOf(index), '192.0.2.1')));
    const codes = flood.map(({ code }) => code);
    expect([...new Set(codes)].sort()).toEqual([Code.OK, Code.RESOURCE_EXHAUSTED]);
    const signedUp = codes.filter((code) => code === Code.OK).length;
    expect(signedUp).toBeGreaterThanOrEqual(100);
    // One more every two seconds.
    expect(signedUp).toBeLessThanOrEqual(101 + (Date.now() - startedAt) / 2_000);
    for (const { transport } of waybill.callers) {
      // Some of them may be those of the seconds that have passed.
      const more = await Promise.all(Array.from({ length: 15 }, () => signUp(transport, '192.0.2.1')));
      expect(more.map(({ code }) => code)).toContain(Code.RESOURCE_EXHAUSTED);
      expect((await signUp(transport, '192.0.2.2')).code).toBe(Code.OK);
      // Whoever has signed up may verify.
      expect((await waybill[transport].call(verifyEmail, { token: 'x' }, from('192.0.2.1'))).code).toBe(Code.FAILED_PRECONDITION);
    }
  });

  it('is told when to come again, and has its line in the log', async () => {
    const headers = { 'content-type': 'application/json', ...from('192.0.2.1') };
    const post = () => waybill.fetch(httpPath(createUser), { method: 'POST', headers, body: JSON.stringify(somebody()) });
    const refused = (await Promise.all(Array.from({ length: 15 }, post))).find(({ status }) => status === 429);
    expect(['1', '2']).toContain(refused?.headers.get('retry-after'));
    expect(await refused?.text()).toMatch(/"reason":"RATE_LIMIT_EXCEEDED".*google.rpc.RetryInfo","retryDelay":"[012]/);
    const requestId = refused?.headers.get('x-request-id');
    expect(await waybill.api.line((line) => line['requestId'] === requestId)).toMatchObject({
      client: '192.0.2.1',
      code: 'RESOURCE_EXHAUSTED',
    });
  });
});

describe('asking for another link', () => {
  beforeAll(() => startApi({ SIGN_UP_BURST: '1', SIGN_UPS_PER_MINUTE: '1' }));

  it('has a limit of its own, ten times as high, on the page and on both transports together', async () => {
    const askByPage = (client: string) =>
      waybill.fetch('/verify-email/new', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...from(client) },
        body: new URLSearchParams({ email: somebody().email }),
      });
    const ask = (transport: 'http' | 'grpc', client: string) =>
      waybill[transport].call(resendVerificationEmail, { email: somebody().email }, from(client));
    for (let times = 0; times < 10; times++) {
      if (times < 4) expect((await askByPage('192.0.2.1')).status).toBe(200);
      else expect((await ask(transportOf(times), '192.0.2.1')).code).toBe(Code.OK);
    }
    const page = await askByPage('192.0.2.1');
    expect([page.status, page.headers.get('content-type')]).toEqual([429, 'text/html; charset=utf-8']);
    expect(Number(page.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await page.text()).toContain('Too many requests come from your network');
    expect((await ask('http', '192.0.2.1')).code).toBe(Code.RESOURCE_EXHAUSTED);
    expect((await ask('grpc', '192.0.2.1')).code).toBe(Code.RESOURCE_EXHAUSTED);
    expect((await askByPage('192.0.2.2')).status).toBe(200);
    expect((await signUp('http', '192.0.2.1')).code).toBe(Code.OK);
  });
});

describe('a new password', () => {
  beforeAll(() => startApi({ SIGN_UP_BURST: '1', SIGN_UPS_PER_MINUTE: '1' }));

  it('is asked for as often as another link, on the pages and on both transports together', async () => {
    const client = '192.0.2.11';
    const byPage = () =>
      waybill.fetch('/reset-password/new', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...from(client) },
        body: new URLSearchParams({ email: somebody().email }),
      });
    const ask = (transport: 'http' | 'grpc') => waybill[transport].call(requestPasswordReset, { email: somebody().email }, from(client));
    for (let times = 0; times < 9; times++) {
      if (times < 4) expect((await byPage()).status).toBe(200);
      else expect((await ask(transportOf(times))).code).toBe(Code.OK);
    }
    expect((await waybill.http.call(resendVerificationEmail, { email: somebody().email }, from(client))).code).toBe(Code.OK);
    expect([(await byPage()).status, (await ask('http')).code, (await ask('grpc')).code]).toEqual([
      429,
      Code.RESOURCE_EXHAUSTED,
      Code.RESOURCE_EXHAUSTED,
    ]);
  });

  it('is set as often as a source signs up, and a wrong token counts a tenth', async () => {
    const client = '192.0.2.12';
    const request = { token: 'x', newPassword: 'a new and better one' };
    const byPage = () =>
      waybill.fetch('/reset-password', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...from(client) },
        body: new URLSearchParams({ token: 'x', password: request.newPassword }),
      });
    const codes: unknown[] = [(await byPage()).status];
    // Of what is left after a tenth, no second call can be paid in full; a minute gives back one.
    for (const { transport } of waybill.callers) codes.push((await waybill[transport].call(resetPassword, request, from(client))).code);
    codes.push((await byPage()).status);
    expect(codes).toEqual([400, Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED, 429]);
  });
});

describe('where a source may sign up as often as it likes', () => {
  beforeAll(() => startApi({}));

  it('a flood of one turns nobody away but itself', async () => {
    const over = new AbortController();
    const floodCodes = new Set<Code>();
    const flood = Array.from({ length: 250 }, async (_, index) => {
      while (!over.signal.aborted) floodCodes.add((await signUp(transportOf(index), '192.0.2.1')).code);
    });
    await expect.poll(() => floodCodes.has(Code.RESOURCE_EXHAUSTED), { timeout: 20_000 }).toBe(true);
    const honest = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const startedAt = performance.now();
        const { code } = await signUp(transportOf(index), `198.51.100.${index}`);
        return { code, took: performance.now() - startedAt };
      }),
    );
    over.abort();
    await Promise.all(flood);
    expect(honest.map(({ code }) => code)).toEqual(Array(20).fill(Code.OK));
    // A hundred hashes of the flood wait before anybody who has to wait for all of them.
    expect(honest.map(({ took }) => took).sort((a, b) => a - b)[10]).toBeLessThan(10_000);
    expect([...floodCodes].sort()).toEqual([Code.OK, Code.RESOURCE_EXHAUSTED]);
  });
});

// Elsewhere the loopback interface has but one address.
describe.skipIf(process.platform !== 'linux')('the address that a connection comes from', () => {
  beforeAll(() => startApi({ TRUST_PROXY: '', SIGN_UP_BURST: '1', SIGN_UPS_PER_MINUTE: '1' }));

  const http = async (localAddress: string) => {
    const { hostname, port } = new URL(waybill.http.origin);
    const headers = { 'content-type': 'application/json', ...from('192.0.2.77') };
    const request = httpRequest({ hostname, port, localAddress, path: httpPath(createUser), method: 'POST', headers });
    request.end(JSON.stringify(somebody()));
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };

  const grpc = async (localAddress: string) => {
    const port = Number(waybill.environment['GRPC_PORT']);
    const createConnection = () => connect({ host: '127.0.0.1', port, localAddress });
    const client = connectHttp2('http://127.0.0.1', { createConnection });
    const path = `/${createUser.parent.typeName}/${createUser.name}`;
    const headers = { 'content-type': 'application/grpc', te: 'trailers', ...from('192.0.2.77') };
    const stream = client.request({ ':method': 'POST', ':path': path, ...headers });
    const message = toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, somebody()));
    stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]));
    let status: unknown;
    const read = (given: IncomingHttpHeaders) => (status ??= given['grpc-status']);
    stream.on('response', read).on('trailers', read).resume();
    await once(stream, 'close');
    client.close();
    return Number(status);
  };

  it('is its source where no proxy is trusted', async () => {
    expect([await http('127.0.0.1'), await grpc('127.0.0.1'), await http('127.0.0.1')]).toEqual([200, Code.RESOURCE_EXHAUSTED, 429]);
    expect([await grpc('127.0.0.2'), await http('127.0.0.2'), await http('127.0.0.3')]).toEqual([Code.OK, 429, 200]);
    for (const client of ['127.0.0.1', '127.0.0.2', '127.0.0.3'])
      await waybill.api.line((line) => line['client'] === client && String(line['rpc']).endsWith('CreateUser'));
  });
});
