import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertPortsAvailable, PortUnavailable } from './ports.js';

const listening = (server: Server) =>
  new Promise<number>((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));

describe('assertPortsAvailable', () => {
  const holder = createServer();
  let taken: number;
  let free: number;
  beforeAll(async () => {
    taken = await listening(holder);
    const other = createServer();
    free = await listening(other);
    await new Promise((resolve) => other.close(resolve));
  });
  afterAll(() => void holder.close());

  const HOST = '127.0.0.1';

  it('lets ports pass that are free, or not wanted', async () => {
    await assertPortsAvailable({ HOST, HTTP_PORT: free, CONSOLE_PORT: undefined }, 'HTTP_PORT', 'CONSOLE_PORT');
    // 0 is any.
    await assertPortsAvailable({ HOST, HTTP_PORT: 0, GRPC_PORT: 0 }, 'HTTP_PORT', 'GRPC_PORT');
  });

  it.each([
    [
      'somebody else’s port',
      () => ({ HOST, HTTP_PORT: free, GRPC_PORT: taken }),
      () => `GRPC_PORT: port ${taken} of ${HOST} is taken by another process`,
    ],
    ['the same port twice', () => ({ HOST, HTTP_PORT: free, GRPC_PORT: free }), () => `GRPC_PORT: port ${free} is HTTP_PORT's as well`],
    [
      'somebody else’s address',
      () => ({ HOST: '192.0.2.1', HTTP_PORT: free, GRPC_PORT: 0 }),
      () => 'HOST: 192.0.2.1 is no address of this machine (EADDRNOTAVAIL)',
    ],
  ])('refuses %s, in one line with the name of its variable', async (_, config, message) => {
    const failure = await assertPortsAvailable(config(), 'HTTP_PORT', 'GRPC_PORT').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PortUnavailable);
    expect((failure as Error).message).toBe(message());
  });
});
