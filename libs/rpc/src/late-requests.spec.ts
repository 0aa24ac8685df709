import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LateRequests } from './late-requests.js';

/** How long a head may take to arrive, and a connection be idle. Milliseconds. */
const TIME = 300;
const HEAD = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n';

/** Stops the whole process, as a handler does that computes, once the text is on its way. What comes next is a look at the timers. */
const sendAndStandStill = (text: string) =>
  setImmediate(() => {
    client.write(text);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3 * TIME);
  });

let server: Server;
let client: Socket;
let heard: string;
/** What has become of the connection, in its order. */
let told: string[];

beforeEach(async () => {
  told = [];
  heard = '';
  const late = new LateRequests();
  server = createServer(
    { headersTimeout: TIME, requestTimeout: 2 * TIME, keepAliveTimeout: TIME, connectionsCheckingInterval: TIME / 3 },
    (request, response) => {
      late.begun(request);
      const arrived = () => late.arrived(request);
      request.once('end', arrived).once('close', arrived);
      request.resume().once('end', () => response.end('served'));
    },
  );
  // Beyond what is set, Node waits for a second of its own.
  server.keepAliveTimeoutBuffer = 0;
  server.on('clientError', (_error, socket) => {
    told.push('late');
    late.isLate(socket as Socket, () => {
      told.push('refused');
      socket.destroy();
    });
  });
  server.on('timeout', (socket) => {
    told.push('idle');
    late.isIdle(socket, () => {
      told.push('ended');
      socket.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('data', (data) => (heard += String(data)));
  await Promise.all([accepted, once(client, 'connect')]);
});
afterEach(() => {
  client.destroy();
  server.close();
});

const served = (times: number) => expect.poll(() => heard.match(/served/g)?.length, { timeout: 5_000 }).toBe(times);
const endOf = () => once(client, 'close');

describe('a request that is late to Node', () => {
  it('is served when it had arrived before the process stood still', async () => {
    sendAndStandStill(`${HEAD}{}`);
    await served(1);
    expect(told).toEqual(['late']);
  });

  it('is served when it arrives within the second, and the next one takes its own time', async () => {
    sendAndStandStill(HEAD.slice(0, 10));
    await expect.poll(() => told, { timeout: 5_000 }).toEqual(['late']);
    client.write(`${HEAD.slice(10)}{}`);
    await served(1);
    // Its head is there when the second is over, and its body is not.
    client.write(HEAD);
    await expect.poll(() => told.length, { timeout: 5_000 }).toBe(2);
    client.write('{}');
    await served(2);
    expect(told).toEqual(['late', 'late']);
  });

  it('is refused when it does not arrive, be it its head or its body', async () => {
    client.write(HEAD.slice(0, 10));
    await endOf();
    expect(told).toEqual(['late', 'refused']);
  });

  it('is refused when a request before it has arrived', async () => {
    client.write(`${HEAD}{}${HEAD}{`);
    await endOf();
    expect(heard.match(/served/g)).toHaveLength(1);
    expect(told).toEqual(['late', 'refused']);
  });
});

describe('a connection that was idle for too long to Node', () => {
  it('goes on with a request that came while the process stood still', async () => {
    client.write(`${HEAD}{}`);
    await served(1);
    sendAndStandStill(`${HEAD}{}`);
    await served(2);
    expect(told).toEqual(['idle']);
  });

  it('is ended when there is none', async () => {
    client.write(`${HEAD}{}`);
    await endOf();
    expect(told).toEqual(['idle', 'ended']);
  });
});
