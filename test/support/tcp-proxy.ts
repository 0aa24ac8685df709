import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Stands between an app and a server: it can keep the server's answers to itself, fall silent, and lead to another server. */
export class TcpProxy {
  private readonly sockets = new Set<Socket>();
  private trigger: { request: string; seen: () => void } | undefined;

  private frozen = false;

  private constructor(
    private readonly server: Server,
    /** Where new connections lead. */
    public target: { host: string; port: number },
  ) {}

  static async to(target: { host: string; port: number }): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server, target);
    server.on('connection', (client) => proxy.join(client, connect(proxy.target)));
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

  /** From now on it says nothing to anybody, on new connections neither, and ends none. */
  freeze(): void {
    this.frozen = true;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private join(client: Socket, server: Socket): void {
    let withheld = false;
    client.on('data', (data) => {
      if (this.frozen) return;
      if (this.trigger && data.includes(this.trigger.request)) {
        withheld = true;
        this.trigger.seen();
        this.trigger = undefined;
      }
      server.write(data);
    });
    server.on('data', (data) => {
      if (!withheld && !this.frozen) client.write(data);
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
