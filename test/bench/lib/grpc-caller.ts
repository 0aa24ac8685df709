import { type ClientHttp2Session, connect, constants } from 'node:http2';

/** One connection that makes unary gRPC calls: bare HTTP/2, because grpc-js's client costs more than its server. */
export class GrpcConnection {
  readonly #session: ClientHttp2Session;
  readonly #headers: Record<string, string>;

  constructor(port: number, path: string) {
    this.#session = connect(`http://127.0.0.1:${port}`);
    this.#session.on('error', () => undefined);
    this.#headers = {
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      'content-type': 'application/grpc',
      te: 'trailers',
    };
  }

  /** @returns the call's grpc-status. */
  call(message: Uint8Array): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const stream = this.#session.request(this.#headers);
    let status: string | undefined;
    const read = (headers: Record<string, unknown>) => (status ??= headers['grpc-status'] as string | undefined);
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('data', () => undefined);
    stream.on('error', reject);
    stream.on('close', () => resolve(Number(status ?? -1)));
    const frame = Buffer.allocUnsafe(5 + message.length);
    frame.writeUInt8(0, 0);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    stream.end(frame);
    return promise;
  }

  close(): void {
    this.#session.destroy();
  }
}
