import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between an app and a server, and can keep the server's answers to itself. */
export class TcpProxy {
  private readonly sockets = new Set<Socket>();
  private trigger: { request: string; seen: () => void } | undefined;

  private constructor(private readonly server: Server) {}

  static async to(target: { host: string; port: number }): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server);
    server.on('connection', (client) => proxy.join(client, connect(target)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /**
   * Lets the next request that contains these bytes through, and nothing back on
   * its connection any more.
   *
   * @returns a promise of that request.
   */
  withholdAnswerTo(request: string): Promise<void> {
    return new Promise((seen) => (this.trigger = { request, seen }));
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private join(client: Socket, server: Socket): void {
    let withheld = false;
    client.on('data', (data) => {
      if (this.trigger && data.includes(this.trigger.request)) {
        withheld = true;
        this.trigger.seen();
        this.trigger = undefined;
      }
      server.write(data);
    });
    server.on('data', (data) => {
      if (!withheld) client.write(data);
    });
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
