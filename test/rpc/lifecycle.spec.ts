import { connect, createServer, type Socket } from 'node:net';
import { Agent, request as httpRequest } from 'node:http';
import { fromBinary, getExtension } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { Controller, Module } from '@nestjs/common';
import { afterEach, describe, expect, it } from 'vitest';
import { PortUnavailable } from '@app/config';
import {
  type CreateUserRequest,
  httpOption,
  type ResendVerificationEmailRequest,
  UserService,
  type VerifyEmailRequest,
} from '@app/contract';
import { createRpcApp, Message, packageDefinition, Rpc } from '@app/rpc';
import { field as fieldRules } from '../../libs/contract/src/gen/buf/validate/validate_pb.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { Harness, restOf } from './harness.js';

const resend = UserService.method.resendVerificationEmail;

/** A handler that answers when the test lets it. */
let entered: PromiseWithResolvers<void>;
let release: PromiseWithResolvers<void>;
let waiting = 0;

@Controller()
class SlowController {
  @Rpc(resend)
  async resendVerificationEmail(@Message() _request: ResendVerificationEmailRequest) {
    if (++waiting === 2) entered.resolve();
    await release.promise;
    return {};
  }

  @Rpc(UserService.method.createUser)
  createUser(@Message() _request: CreateUserRequest) {
    return {};
  }

  @Rpc(UserService.method.verifyEmail)
  verifyEmail(@Message() _request: VerifyEmailRequest) {
    return {};
  }
}

let harness: Harness;
async function start(options: Parameters<Harness['start']>[2] = {}): Promise<void> {
  entered = Promise.withResolvers();
  release = Promise.withResolvers();
  waiting = 0;
  harness = await new Harness().start([SlowController, restOf(UserService, SlowController)], [UserService], options);
}
afterEach(async () => {
  release.resolve();
  await harness.stop();
});

const message = { email: 'a@b.co' };

function postKeepAlive(agent: Agent): Promise<{ status?: number; connection?: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port: harness.httpPort,
        path: '/v1/verification_emails',
        method: 'POST',
        agent,
        headers: { 'content-type': 'application/json' },
      },
      (response) => response.resume().on('end', () => resolve({ status: response.statusCode, connection: response.headers.connection })),
    );
    request.on('error', reject).end(JSON.stringify(message));
  });
}

function idleSocket(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(harness.httpPort, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => undefined);
  });
}

describe('a shutdown', () => {
  it('lets calls under way answer, on both transports, and waits for no idle connection', async () => {
    await start({ shutdownTimeout: 15_000 });
    const agent = new Agent({ keepAlive: true });
    const idle = await idleSocket();
    const calls = [postKeepAlive(agent), harness.grpc(resend, message)] as const;
    await entered.promise;
    const startedAt = performance.now();
    const closed = harness.app.nest.close();
    await new Promise((resolve) => idle.once('close', resolve));
    release.resolve();
    const [http, grpc] = await Promise.all(calls);
    expect(http).toEqual({ status: 200, connection: 'close' });
    expect(grpc.error).toBeUndefined();
    await closed;
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await expect(harness.fetch('/v1/verification_emails')).rejects.toThrow();
    agent.destroy();
  });

  it('is bounded', async () => {
    await start({ shutdownTimeout: 100 });
    const calls = [postKeepAlive(new Agent()).catch((error: Error) => error), harness.grpc(resend, message)] as const;
    await entered.promise;
    await harness.app.nest.close();
    const [http, grpc] = await Promise.all(calls);
    expect(http).toBeInstanceOf(Error);
    expect(grpc.error).toBeDefined();
    expect(harness.log.calls.map(({ fields }) => fields['code'])).toEqual(['CANCELLED', 'CANCELLED']);
  });

  it('ends watched streams', async () => {
    await start({ shutdownTimeout: 15_000 });
    const health = healthClient();
    const stream = health['Watch']!({ service: '' }) as unknown as NodeJS.EventEmitter;
    const error = new Promise<{ code: number }>((resolve) => stream.on('error', resolve));
    const seen: string[] = [];
    await new Promise<void>((resolve) => stream.on('data', ({ status }: { status: string }) => (seen.push(status), resolve())));
    const startedAt = performance.now();
    await harness.app.nest.close();
    expect((await error).code).toBe(14);
    expect(seen.at(-1)).toBe('NOT_SERVING');
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    health.close();
  });
});

type HealthClient = Client &
  Record<string, (request: { service: string }, done?: (error: { code: number } | null, answer: { status: string }) => void) => void>;

function healthClient(): HealthClient {
  const { grpc } = loadPackageDefinition({ 'grpc.health.v1.Health': healthService }) as unknown as {
    grpc: { health: { v1: { Health: ServiceClientConstructor } } };
  };
  return new grpc.health.v1.Health(`127.0.0.1:${harness.grpcPort}`, credentials.createInsecure()) as unknown as HealthClient;
}

describe('grpc.health.v1', () => {
  it('says what the readiness says, for the server and for its services', async () => {
    await start();
    const client = healthClient();
    const check = (service: string) =>
      new Promise<string | number>((resolve) =>
        client['Check']!({ service }, (error, answer) => resolve(error ? error.code : answer.status)),
      );
    expect([await check(''), await check('account.v1.UserService'), await check('nothing')]).toEqual(['SERVING', 'SERVING', 5]);
    harness.ready = false;
    expect([await check(''), await check('account.v1.UserService')]).toEqual(['NOT_SERVING', 'NOT_SERVING']);
    harness.ready = true;
    expect(await check('')).toBe('SERVING');
    client.close();
    const lines = harness.log.calls.filter(({ fields }) => fields['rpc'] === 'grpc.health.v1.Health/Check');
    expect(lines.map(({ level }) => level)).toEqual(Array(6).fill('debug'));
  });
});

describe('server reflection', () => {
  async function reflect(request: object): Promise<Record<string, unknown>> {
    const { ReflectionService } = await import('@grpc/reflection');
    const names: Record<string, ServiceClientConstructor['service']> = {};
    // The package keeps its proto to itself; its service tells what it is when it is added.
    new ReflectionService({}).addToServer({
      addService: (service: ServiceClientConstructor['service']) => {
        const path = Object.values(service)[0]!.path;
        names[path.split('/')[1]!] = service;
      },
    } as never);
    const { grpc } = loadPackageDefinition({
      'grpc.reflection.v1.ServerReflection': names['grpc.reflection.v1.ServerReflection']!,
    }) as never as {
      grpc: { reflection: { v1: { ServerReflection: ServiceClientConstructor } } };
    };
    const client = new grpc.reflection.v1.ServerReflection(`127.0.0.1:${harness.grpcPort}`, credentials.createInsecure());
    try {
      return await new Promise((resolve, reject) => {
        const stream = (client['ServerReflectionInfo'] as () => NodeJS.ReadWriteStream).call(client);
        stream.on('data', (answer: Record<string, unknown>) => {
          resolve(answer);
          stream.end();
        });
        stream.on('error', reject);
        stream.write(request as never);
      });
    } finally {
      client.close();
    }
  }

  /** The first file of an answer, with what is known of its options. */
  async function fileOf(request: object): Promise<FileDescriptorProto> {
    const answer = (await reflect(request)) as { fileDescriptorResponse: { fileDescriptorProto: string[] } };
    const [file] = answer.fileDescriptorResponse.fileDescriptorProto;
    return fromBinary(FileDescriptorProtoSchema, Buffer.from(file!, 'base64'));
  }

  it('tells the services, everything that they are made of, and the details of errors', async () => {
    await start();
    const { listServicesResponse } = (await reflect({ listServices: '*' })) as { listServicesResponse: { service: { name: string }[] } };
    expect(listServicesResponse.service.map(({ name }) => name)).toEqual([
      'account.v1.UserService',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
    ]);
    for (const symbol of ['BadRequest', 'ErrorInfo', 'RetryInfo', 'Status'].map((name) => `google.rpc.${name}`)) {
      expect((await fileOf({ fileContainingSymbol: symbol })).messageType.map(({ name }) => `google.rpc.${name}`)).toContain(symbol);
    }
    for (const service of ['grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection']) {
      expect((await fileOf({ fileContainingSymbol: service })).service.map(({ name }) => name)).toContain(service.split('.').at(-1));
    }
    // As a client of another make demands it.
    const { messageType } = await fileOf({ fileContainingSymbol: 'grpc.health.v1.Health' });
    const list = messageType.find(({ name }) => name === 'HealthListResponse');
    expect(list?.nestedType.map(({ name, options }) => [name, options?.mapEntry])).toEqual([['StatusesEntry', true]]);
    for (const name of ['buf/validate/validate.proto', 'google/api/annotations.proto', 'google/protobuf/timestamp.proto']) {
      expect((await fileOf({ fileByFilename: name })).name).toBe(name);
    }
  });

  it('tells the options: rules of fields, and the paths of methods', async () => {
    await start();
    const { messageType, service } = await fileOf({ fileContainingSymbol: 'account.v1.UserService' });
    const request = messageType.find(({ name }) => name === 'CreateUserRequest');
    expect(getExtension(request!.field[0]!.options!, fieldRules)).toMatchObject({ type: { case: 'string', value: { minLen: 3n } } });
    expect(getExtension(service[0]!.method[0]!.options!, httpOption)).toMatchObject({ pattern: { case: 'post', value: '/v1/users' } });
  });

  it('is off in production', async () => {
    await start({ isProduction: true });
    await expect(reflect({ listServices: '*' })).rejects.toMatchObject({ code: 12 });
  });
});

describe('a port that is taken', () => {
  it.each(['HTTP_PORT', 'GRPC_PORT'])('is an error that names %s', async (variable) => {
    await start();
    const server = createServer();
    const port = await new Promise<number>((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
    );
    @Module({})
    class Empty {}
    const config = { HOST: '127.0.0.1', HTTP_PORT: await freePort(), GRPC_PORT: await freePort(), isProduction: false, [variable]: port };
    const failure = await createRpcApp(Empty, { config, services: [], logger: false }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PortUnavailable);
    expect((failure as Error).message).toBe(`${variable}: port ${port} of 127.0.0.1 is taken by another process`);
    server.close();
  });
});

it('packageDefinition has every method of a service', async () => {
  await start();
  const { 'account.v1.UserService': service } = packageDefinition([UserService]);
  expect(Object.keys(service!)).toEqual(UserService.methods.map(({ name }) => name));
});
