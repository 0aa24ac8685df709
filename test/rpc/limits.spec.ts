import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import { Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import { type CreateUserRequest, type ResendVerificationEmailRequest, UserService, type VerifyEmailRequest } from '@app/contract';
import { Message, Rpc } from '@app/rpc';
import { eventually } from '../support/eventually.js';
import { Harness, restOf } from './harness.js';

const resend = UserService.method.resendVerificationEmail;

/** How long a handler takes. Milliseconds. */
const HANDLING = 100;

@Controller()
class UserController {
  @Rpc(resend)
  async resendVerificationEmail(@Message() _request: ResendVerificationEmailRequest) {
    await wait(HANDLING);
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
const cleanUp: (() => void)[] = [];
async function start(limits: NonNullable<Parameters<Harness['start']>[2]>['limits'] = {}): Promise<void> {
  harness = await new Harness().start([UserController, restOf(UserService, UserController)], [UserService], { limits });
}
afterEach(async () => {
  for (const end of cleanUp.splice(0)) end();
  await harness.stop();
});

/** A client that speaks HTTP/2 and has its own ideas. */
function session(): ClientHttp2Session {
  const client = connectHttp2(`http://127.0.0.1:${harness.grpcPort}`);
  client.on('error', () => undefined);
  cleanUp.push(() => client.destroy());
  return client;
}

/** A call that says it has 100 bytes to send, and stops after ten. */
function halfSent(client: ClientHttp2Session): ClientHttp2Stream {
  const path = `/${resend.parent.typeName}/${resend.name}`;
  const stream = client.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  stream.on('error', () => undefined);
  stream.write(Buffer.from([0, 0, 0, 0, 100, 1, 2, 3, 4, 5]));
  return stream;
}

async function statusOf(stream: ClientHttp2Stream): Promise<unknown> {
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return headers['grpc-status'];
}

const isHonestServed = async () => {
  expect((await harness.grpc(resend, { email: 'a@b.co' })).error).toBeUndefined();
  expect((await harness.post('/v1/verification_emails', { email: 'a@b.co' })).status).toBe(200);
};

describe('a gRPC call whose request does not arrive', () => {
  it('ends after its time, and with it its stream', async () => {
    await start({ arrivalTimeout: 300 });
    const client = session();
    const streams = [halfSent(client), halfSent(client)];
    const closed = streams.map((stream) => once(stream, 'close'));
    expect(await Promise.all(streams.map(statusOf))).toEqual(['4', '4']);
    await Promise.all(closed);
    expect(harness.log.calls.map(({ fields }) => fields['code'])).toEqual(['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
    await isHonestServed();
  });

  it('has no end of its own when it was sent whole: a handler may take its time', async () => {
    await start({ arrivalTimeout: HANDLING / 5 });
    await isHonestServed();
  });

  it('makes room for others', async () => {
    await start({ arriving: 3 });
    const client = session();
    const streams = Array.from({ length: 5 }, () => halfSent(client));
    expect(await Promise.all(streams.slice(0, 2).map(statusOf))).toEqual(['8', '8']);
    await isHonestServed();
    await eventually(() => streams[2]!.closed);
    expect(streams.map(({ closed }) => closed)).toEqual([true, true, true, false, false]);
  });
});

describe('connections', () => {
  it('are told how many calls they may carry at once', async () => {
    await start();
    const client = session();
    await once(client, 'remoteSettings');
    expect(client.remoteSettings.maxConcurrentStreams).toBe(100);
  });

  it('make room for others while they carry no call', async () => {
    await start({ connections: 3 });
    const grpc = Array.from({ length: 5 }, session);
    await Promise.all(grpc.slice(0, 2).map((client) => once(client, 'close')));
    const http = await Promise.all(Array.from({ length: 5 }, () => socket()));
    await eventually(() => http.filter(({ closed }) => closed).length === 2);
    await isHonestServed();
  });

  it('on HTTP whose requests do not arrive make room for others', async () => {
    await start({ arriving: 3 });
    const sockets = await Promise.all(Array.from({ length: 5 }, () => socket()));
    const head = 'POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{';
    for (const each of sockets) each.write(head);
    await eventually(() => sockets.filter(({ closed }) => closed).length === 2);
    await isHonestServed();
  });

  function socket(): Promise<Socket> {
    return new Promise((resolve) => {
      const client = connect(harness.httpPort, '127.0.0.1', () => resolve(client));
      client.on('error', () => undefined).resume();
      cleanUp.push(() => client.destroy());
    });
  }
});

describe('watched health', () => {
  it('makes room for others', async () => {
    await start({ watching: 2 });
    const { grpc } = loadPackageDefinition({ 'grpc.health.v1.Health': healthService }) as unknown as {
      grpc: { health: { v1: { Health: ServiceClientConstructor } } };
    };
    const client = new grpc.health.v1.Health(`127.0.0.1:${harness.grpcPort}`, credentials.createInsecure()) as unknown as Client &
      Record<'Watch', (request: object) => NodeJS.EventEmitter>;
    cleanUp.push(() => client.close());
    const watch = async (service: string) => {
      const stream = client.Watch({ service });
      const ended = once(stream, 'error').then(([error]) => (error as { code: number }).code);
      const [{ status }] = (await once(stream, 'data')) as [{ status: string }];
      return { status, ended };
    };
    const first = await watch('');
    expect((await watch('nobody')).status).toBe('SERVICE_UNKNOWN');
    expect((await watch('account.v1.UserService')).status).not.toBe('SERVICE_UNKNOWN');
    expect(await first.ended).toBe(8);
  });
});
