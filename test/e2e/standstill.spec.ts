import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ResendVerificationEmailRequestSchema, UserService } from '@app/contract';
import { withLoopBlockedFor } from '../support/app-process.js';
import { eventually } from '../support/eventually.js';
import { Waybill } from '../support/waybill.js';

/** Longer than a request may take to arrive, and than the time until the api looks at that. Milliseconds. */
const STANDSTILL = 16_000;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres');
  await waybill.startApi(withLoopBlockedFor(STANDSTILL));
});
afterAll(() => waybill?.close());

it('an api that stood still answers those whose requests came meanwhile, on both transports', { timeout: 60_000 }, async () => {
  const port = Number(waybill.environment['HTTP_PORT']);
  const body = JSON.stringify({ email: 'nobody@example.com' });
  const head = (length: number) =>
    `POST /v1/verification_emails HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
  const answers = async (beforehand: string, later: string) => {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(beforehand);
    return async () => {
      socket.write(later);
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString().split('\r\n')[0];
    };
  };
  const http = [await answers('', head(body.length) + body), await answers('POST /v1/verif', `${head(body.length).slice(14)}${body}`)];

  const client = connectHttp2(`http://127.0.0.1:${waybill.environment['GRPC_PORT']}`);
  await once(client, 'remoteSettings');
  const path = `/${UserService.typeName}/${UserService.method.resendVerificationEmail.name}`;
  const call = client.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  call.resume();
  // A call that is refused has its status in the headers.
  const status = new Promise((resolve) => {
    for (const event of ['response', 'trailers']) call.on(event, ({ 'grpc-status': said }) => said !== undefined && resolve(said));
  });
  // What is asked later is answered: all of this has been taken up.
  await new Promise<void>((resolve, reject) => client.ping((error) => (error ? reject(error) : resolve())));
  expect((await waybill.fetch('/healthz')).status).toBe(200);

  waybill.api.signal('SIGCONT');
  const begin = performance.now();
  await eventually(() =>
    waybill.fetch('/healthz', { signal: AbortSignal.timeout(500) }).then(
      () => false,
      () => true,
    ),
  );
  const answered = Promise.all(http.map((answer) => answer()));
  const message = toBinary(
    ResendVerificationEmailRequestSchema,
    create(ResendVerificationEmailRequestSchema, { email: 'nobody@example.com' }),
  );
  call.end(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]));

  expect(await answered).toEqual(['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK']);
  expect(performance.now() - begin).toBeGreaterThanOrEqual(STANDSTILL);
  expect(await status).toBe('0');
  client.destroy();
});

it('a request that does not arrive is refused all the same', { timeout: 60_000 }, async () => {
  const socket = connect(Number(waybill.environment['HTTP_PORT']), '127.0.0.1');
  // The first one is whole; the one after it never ends.
  socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nho');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const statuses = Buffer.concat(chunks)
    .toString()
    .match(/HTTP\/1\.1 \d+/g);
  expect(statuses).toEqual(['HTTP/1.1 200', 'HTTP/1.1 408']);
});
