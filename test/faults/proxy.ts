import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy on the loopback interface that can cut connections, refuse them, or let them go silent. */
export class Proxy {
  private readonly pairs = new Set<{ client: Socket; server: Socket; swallowing: boolean }>();
  private refusing = false;
  private readonly listener: Server;

  private constructor(target: { host: string; port: number }) {
    this.listener = createServer((client) => {
      client.on('error', () => undefined);
      if (this.refusing) {
        client.resetAndDestroy();
        return;
      }
      const server = connect(target);
      const pair = { client, server, swallowing: false };
      this.pairs.add(pair);
      const end = () => {
        // A connection that was swallowed stays open for whoever waits on it.
        if (pair.swallowing) return;
        this.pairs.delete(pair);
        client.destroy();
        server.destroy();
      };
      server.on('error', () => undefined);
      client.on('data', (chunk) => void (pair.swallowing || server.write(chunk)));
      server.on('data', (chunk) => void (pair.swallowing || client.write(chunk)));
      client.once('close', end);
      server.once('close', end);
    });
  }

  /** @param address `host:port` of what is behind it. */
  static async start(address: string): Promise<Proxy> {
    const { hostname, port } = new URL(`tcp://${address}`);
    const proxy = new Proxy({ host: hostname, port: Number(port) });
    await new Promise<void>((resolve, reject) => {
      proxy.listener.once('error', reject);
      proxy.listener.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  /** Resets every connection, and refuses new ones until {@link restore}. */
  cut(): void {
    this.refusing = true;
    for (const { client, server } of this.pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  restore(): void {
    this.refusing = false;
  }

  /** Makes the connections of this moment half open: whatever is sent goes nowhere, and nobody is told. New ones are well. */
  swallow(): number {
    for (const pair of this.pairs) pair.swallowing = true;
    return this.pairs.size;
  }

  async stop(): Promise<void> {
    for (const { client, server } of this.pairs) {
      client.destroy();
      server.destroy();
    }
    await new Promise<void>((resolve) => {
      this.listener.close(() => resolve());
      setTimeout(resolve, 500).unref();
    });
  }
}
