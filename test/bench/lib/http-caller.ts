import { connect, type Socket } from 'node:net';

/** What came back: the status, and how long it took in milliseconds. */
export interface HttpReply {
  status: number;
  body: string;
}

/**
 * One connection that POSTs JSON, a request at a time. By hand, because it must
 * cost less than the servers it measures, on whose cores it runs.
 */
export class HttpConnection {
  readonly #socket: Socket;
  readonly #head: string;
  #received = '';
  #waiting: PromiseWithResolvers<HttpReply> | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: `;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text) => this.#receive(String(text)));
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  static async open(port: number, path: string): Promise<HttpConnection> {
    const socket = connect({ port, host: '127.0.0.1' });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new HttpConnection(socket, path);
  }

  post(json: string): Promise<HttpReply> {
    this.#waiting = Promise.withResolvers<HttpReply>();
    this.#socket.write(`${this.#head}${json.length}\r\n\r\n${json}`);
    return this.#waiting.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#received += text;
    const end = this.#received.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = this.#received.slice(0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#received.length < end + 4 + length) return;
    const body = this.#received.slice(end + 4);
    this.#received = '';
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)), body });
  }
}
