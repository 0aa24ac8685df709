import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Code, createClient, UserService, ValidationError, WaybillError } from '../../clients/typescript/src/index.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres', { environment: { SIGN_UP_BURST: '8', SIGN_UPS_PER_MINUTE: '60' } });
  await Promise.all([waybill.startApi(), waybill.startWorker()]);
});
afterAll(() => waybill?.close());

const baseUrl = () => `http://127.0.0.1:${waybill.environment['HTTP_PORT']}`;
const failure = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => error as WaybillError,
  );
const usersOf = async (username: string) => (await waybill.database.query('SELECT FROM users WHERE username = $1', [username])).length;

describe('the client', () => {
  it('signs up and verifies, in types', async () => {
    const users = createClient(UserService, { baseUrl: `${baseUrl()}/` });
    const person = somebody();
    const { user } = await users.createUser(person);
    expect(user).toMatchObject({ username: person.username, email: person.email, isEmailVerified: false });
    expect(user!.createdAt!.seconds).toBeTypeOf('bigint');
    const { token } = await waybill.mail.mailTo(person.email);
    expect((await users.verifyEmail({ token })).user?.isEmailVerified).toBe(true);
    expect(await users.resendVerificationEmail({ email: person.email })).toBeDefined();
  });

  it('throws what is wrong with a request, by its fields', async () => {
    const users = createClient(UserService, { baseUrl: baseUrl() });
    const error = (await failure(users.createUser({ ...somebody(), username: 'A', email: 'nobody' }))) as ValidationError;
    expect(error).toBeInstanceOf(ValidationError);
    expect(error).toMatchObject({ code: Code.INVALID_ARGUMENT, reason: 'INVALID_ARGUMENT', requestId: expect.stringMatching(/^.{8,}$/) });
    expect(error.of('email')).toMatch(/email/);
    expect([error.of('username'), error.of('fullName')]).toEqual([expect.any(String), undefined]);
    const taken = somebody();
    await users.createUser(taken);
    expect(await failure(users.createUser({ ...somebody(), username: taken.username }))).toMatchObject({ code: Code.ALREADY_EXISTS });
    const token = await failure(users.verifyEmail({ token: 'nobody was sent it' }));
    expect([token, token instanceof ValidationError]).toEqual([expect.objectContaining({ code: Code.FAILED_PRECONDITION }), false]);
  });

  it('waits for as long as it is told when it calls too often, and is served', { timeout: 60_000 }, async () => {
    const users = createClient(UserService, { baseUrl: baseUrl(), attempts: 10, timeout: 50_000 });
    const people = Array.from({ length: 11 }, somebody);
    for (const person of people) await users.createUser(person);
    const impatient = createClient(UserService, { baseUrl: baseUrl(), attempts: 1 });
    const errors = await Promise.all(Array.from({ length: 4 }, () => failure(impatient.createUser(somebody()))));
    expect(errors.find((error) => error !== undefined)).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, retryDelay: expect.any(Number) });
  });
});

/** What stands between a client and the api, and does what a test says. */
describe('beside a network that fails', () => {
  let server: Server;
  let calls: { body: string }[] = [];
  let answer: (response: ServerResponse, count: number, body: string) => unknown;
  beforeAll(async () => {
    server = createServer((request: IncomingMessage, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        calls.push({ body: Buffer.concat(chunks).toString() });
        answer(response, calls.length, calls.at(-1)!.body);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => (calls = []));
  afterAll(() => server?.close());
  const users = (options = {}) =>
    createClient(UserService, { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ...options });
  const forward = async (response: ServerResponse, body: string) => {
    const real = await fetch(`${baseUrl()}/v1/users`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    response.writeHead(real.status, { 'content-type': 'application/json' }).end(await real.text());
  };

  it('signs up once, however many answers are lost', async () => {
    await eventually(async () => (await fetch(`${baseUrl()}/readyz`)).ok);
    answer = async (response, count, body) => {
      if (count > 2) return forward(response, body);
      // It is done, and nobody is told.
      await fetch(`${baseUrl()}/v1/users`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      response.destroy();
    };
    const person = somebody();
    const { user } = await users({ attempts: 8 }).createUser(person);
    expect([user?.username, await usersOf(person.username)]).toEqual([person.username, 1]);
    expect(new Set(calls.map(({ body }) => body)).size).toBe(1);
  });

  it('tries again what the server could not answer, and no more often than it may', async () => {
    answer = (response) => response.writeHead(503, { 'retry-after': '0' }).end('<html>a proxy’s page');
    const error = await failure(users({ attempts: 3 }).verifyEmail({ token: 'any' }));
    expect([error, calls.length]).toEqual([expect.objectContaining({ code: Code.UNAVAILABLE }), 3]);
  });

  it('repeats nothing that may have been done, and cannot be told from another', async () => {
    answer = (response) => response.destroy();
    const error = await failure(users().verifyEmail({ token: 'any' }));
    expect([error, calls.length]).toEqual([expect.objectContaining({ code: Code.UNAVAILABLE }), 1]);
  });

  it('ends when its caller says so, or its time is over', async () => {
    answer = () => undefined;
    const caller = new AbortController();
    const cancelled = failure(users().verifyEmail({ token: 'any' }, { signal: caller.signal }));
    await eventually(() => calls.length === 1);
    caller.abort();
    expect(await cancelled).toMatchObject({ code: Code.CANCELLED });
    expect(await failure(users().verifyEmail({ token: 'any' }, { timeout: 50 }))).toMatchObject({ code: Code.DEADLINE_EXCEEDED });
    server.closeAllConnections();
  });
});
