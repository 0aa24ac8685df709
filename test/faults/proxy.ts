import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  client: Socket;
  server: Socket;
  swallowing: boolean;
  /** What the client has said first. */
  greeting?: Buffer;
  /** What it has said since it is held up. */
  held: Buffer[];
}

/** A TCP proxy on the loopback interface that can cut connections, refuse them, hold them up, or let them go silent. */
export class Proxy {
  private readonly pairs = new Set<Pair>();
  private refusing = false;
  private holding: string | undefined;
  private readonly listener: Server;

  private constructor(target: { host: string; port: number }) {
    this.listener = createServer((client) => {
      client.on('error', () => undefined);
      if (this.refusing) {
        client.resetAndDestroy();
        return;
      }
      const server = connect(target);
      const pair: Pair = { client, server, swallowing: false, held: [] };
      this.pairs.add(pair);
      const end = () => {
        // A connection that was swallowed stays open for whoever waits on it, and what is held up is still to be sent.
        if (pair.swallowing || pair.held.length > 0) return;
        this.pairs.delete(pair);
        client.destroy();
        server.destroy();
      };
      server.on('error', () => undefined);
      client.on('data', (chunk) => {
        pair.greeting ??= chunk;
        if (this.holding !== undefined && pair.greeting.includes(this.holding)) pair.held.push(chunk);
        else if (!pair.swallowing) server.write(chunk);
      });
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

  /** Holds up what is sent on connections whose first words have `greeting` in them, as a server does that stands still. */
  hold(greeting: string): void {
    this.holding = greeting;
  }

  /** Sends what was held up, also of connections that were given up meanwhile. */
  release(): void {
    this.holding = undefined;
    for (const { client, server, held } of this.pairs) {
      for (const chunk of held.splice(0)) server.write(chunk);
      if (client.destroyed) server.end();
    }
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
