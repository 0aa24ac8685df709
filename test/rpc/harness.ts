import {
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  create,
  type DescMessage,
} from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { Controller, type LoggerService, Module, type Type } from '@nestjs/common';
import { BadRequestSchema, ErrorInfoSchema, StatusSchema } from '@app/contract';
import { createRpcApp, Message, Readiness, Rpc, type RpcApp, RpcError, type RpcAppOptions } from '@app/rpc';
import { freePort } from '../../scripts/stack/ports.ts';

/** A line that was logged with an object first. */
export interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: unknown;
}

/** Keeps what is logged, and lets a test wait for a line. */
export class LogBook implements LoggerService {
  readonly lines: LogLine[] = [];
  private readonly waiting = new Set<() => void>();

  private keep(level: string, first: unknown, rest: unknown[]): void {
    this.lines.push({ level, fields: typeof first === 'object' && first !== null ? { ...first } : { text: first }, message: rest[0] });
    for (const wake of this.waiting) wake();
  }
  log = (first: unknown, ...rest: unknown[]): void => this.keep('log', first, rest);
  error = (first: unknown, ...rest: unknown[]): void => this.keep('error', first, rest);
  warn = (first: unknown, ...rest: unknown[]): void => this.keep('warn', first, rest);
  debug = (first: unknown, ...rest: unknown[]): void => this.keep('debug', first, rest);

  get calls(): LogLine[] {
    return this.lines.filter(({ message }) => message === 'call');
  }

  /** The line of the call with that request id: it is written when the answer has left, which may be a moment later. */
  async call(requestId: string): Promise<LogLine> {
    for (;;) {
      const line = this.calls.find(({ fields }) => fields['requestId'] === requestId);
      if (line) return line;
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.waiting.delete(wake);
          resolve();
        };
        this.waiting.add(wake);
      });
    }
  }
}

/** What a gRPC call ended with. */
export interface GrpcAnswer<T> {
  readonly response?: T;
  readonly error?: ServiceError;
  readonly metadata: Metadata;
}

/** A controller for the RPCs of a service that a test's own one does not answer: a service is served as a whole. */
export function restOf(service: DescService, controller: Type): Type {
  class Rest {}
  const own = new Set(Object.getOwnPropertyNames(controller.prototype));
  for (const method of service.methods.filter(({ localName }) => !own.has(localName))) {
    const value = () => Promise.reject(RpcError.unimplemented('not in this test'));
    Object.defineProperty(Rest.prototype, method.localName, { value, writable: true, configurable: true });
    Message()(Rest.prototype, method.localName, 0);
    Rpc(method as DescMethodUnary)(Rest.prototype, method.localName, Object.getOwnPropertyDescriptor(Rest.prototype, method.localName)!);
  }
  Controller()(Rest);
  return Rest;
}

export class Harness {
  ready = true;
  readonly log = new LogBook();
  app!: RpcApp;
  httpPort!: number;
  grpcPort!: number;
  client!: Client;

  async start(
    controllers: Type[],
    services: readonly DescService[],
    options: Partial<RpcAppOptions> & { isProduction?: boolean; trustProxy?: readonly string[] } = {},
  ): Promise<this> {
    const isReady = () => Promise.resolve(this.ready);
    @Module({ controllers, providers: [{ provide: Readiness, useValue: { isReady } }] })
    class TestModule {}
    this.httpPort = await freePort();
    this.grpcPort = await freePort();
    const config = {
      HOST: '127.0.0.1',
      HTTP_PORT: this.httpPort,
      GRPC_PORT: this.grpcPort,
      TRUST_PROXY: options.trustProxy ?? false,
      isProduction: options.isProduction ?? false,
    };
    this.app = await createRpcApp(TestModule, { config, services, logger: this.log, ...options });
    await this.app.listen();
    this.client = new Client(`127.0.0.1:${this.grpcPort}`, credentials.createInsecure());
    return this;
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.app.nest.close();
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.httpPort}${path}`, init);
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const raw = typeof body === 'string' || body instanceof Uint8Array;
    return this.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: raw ? (body as Buffer<ArrayBuffer>) : JSON.stringify(body),
    });
  }

  /** Calls by path with raw bytes. */
  grpcRaw(path: string, bytes: Uint8Array, metadata = new Metadata()): Promise<GrpcAnswer<Uint8Array>> {
    return new Promise((resolve) => {
      let initial = new Metadata();
      const call = this.client.makeUnaryRequest<Buffer, Buffer>(
        path,
        (message) => message,
        (message) => message,
        Buffer.from(bytes),
        metadata,
        (error, response) => resolve(error ? { error, metadata: error.metadata } : { response: response!, metadata: initial }),
      );
      call.on('metadata', (received: Metadata) => (initial = received));
    });
  }

  async grpc<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    metadata = new Metadata(),
  ): Promise<GrpcAnswer<MessageShape<O>>> {
    const bytes = toBinary(method.input, create(method.input, request) as MessageShape<I>);
    const { response, ...answer } = await this.grpcRaw(`/${method.parent.typeName}/${method.name}`, bytes, metadata);
    return { ...answer, ...(response && { response: fromBinary(method.output, response) }) };
  }
}

/** The details of one kind that a gRPC error carries in `grpc-status-details-bin`. */
export function grpcDetails<Desc extends DescMessage>(error: ServiceError, desc: Desc): MessageShape<Desc>[] {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!(bytes instanceof Buffer)) return [];
  return fromBinary(StatusSchema, bytes).details.flatMap((any) => anyUnpack(any, desc) ?? []);
}

/** The field violations that a gRPC error carries. */
export function grpcViolations(error: ServiceError): { field: string; description: string }[] {
  return grpcDetails(error, BadRequestSchema).flatMap(({ fieldViolations }) =>
    fieldViolations.map(({ field, description }) => ({ field, description })),
  );
}

/** The reason that a gRPC error carries. */
export function grpcReason(error: ServiceError): string | undefined {
  return grpcDetails(error, ErrorInfoSchema)[0]?.reason;
}

/** The detail of an HTTP error that says why. */
export const infoJson = (reason: string) => ({
  '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
  reason,
  domain: 'waybill',
});

export interface StatusJson {
  code: number;
  message: string;
  details: { '@type': string; fieldViolations: { field: string; description: string }[] }[];
}
