import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import {
  Metadata,
  type MethodDefinition,
  type Server,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { type GrpcOptions, Transport } from '@nestjs/microservices';
import { logCall, REQUEST_ID, requestIdFrom, UNKNOWN_RPC, withCaller } from './call.js';
import { clientAddress, type Trust } from './client-address.js';
import { withDetails } from './grpc-error.js';
import { GrpcHealth } from './grpc-health.js';
import { MAX_REQUEST_BYTES } from './http-transport.js';
import type { Readiness } from './readiness.js';
import { Code } from './rpc-error.js';

/**
 * The services as grpc-js wants them, from their descriptors. Messages pass as
 * bytes: `@Message()` decodes them, where what cannot be decoded is an error
 * that the caller understands, and the interceptor encodes.
 */
export function packageDefinition(services: readonly DescService[]): Record<string, ServiceDefinition> {
  return Object.fromEntries(services.map((service) => [service.typeName, serviceDefinition(service)]));
}

function serviceDefinition(service: DescService): ServiceDefinition {
  const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const definition = (name: string, kind: string): MethodDefinition<Uint8Array, Uint8Array> => ({
    path: `/${service.typeName}/${name}`,
    requestStream: kind === 'client_streaming' || kind === 'bidi_streaming',
    responseStream: kind === 'server_streaming' || kind === 'bidi_streaming',
    requestSerialize: asBuffer,
    requestDeserialize: asBuffer,
    responseSerialize: asBuffer,
    responseDeserialize: asBuffer,
  });
  return Object.fromEntries(service.methods.map(({ name, methodKind }) => [name, definition(name, methodKind)]));
}

/** The files of the services, and all that they import, as server reflection wants them. */
function descriptorFiles(services: readonly DescService[]): Buffer[] {
  const files = new Map<string, DescFile>();
  const add = (file: DescFile): void => {
    if (files.has(file.name)) return;
    files.set(file.name, file);
    file.dependencies.forEach(add);
  };
  services.forEach(({ file }) => add(file));
  return [...files.values()].map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)));
}

/** What the gRPC server serves. */
export interface GrpcTransportOptions {
  readonly services: readonly DescService[];
  /** `host:port`. */
  readonly url: string;
  /** Whether server reflection tells callers about the services. */
  readonly reflection: boolean;
  readonly readiness: Readiness;
  /** Which proxies are believed when they say for whom they call. */
  readonly trust: Trust;
}

/**
 * The gRPC server: request ids, the line of a call, health, reflection, and a
 * shutdown that waits for calls.
 */
export class GrpcTransport {
  private server?: Server;
  private readonly health: GrpcHealth;
  private readonly endStream = new Set<() => void>();

  constructor(private readonly options: GrpcTransportOptions) {
    const names = options.services.map(({ typeName }) => typeName);
    this.health = new GrpcHealth(names, options.readiness);
  }

  /** For Nest's `connectMicroservice`. */
  microserviceOptions(): GrpcOptions {
    const { services, url, reflection } = this.options;
    return {
      transport: Transport.GRPC,
      options: {
        url,
        // The root: every package of the definition is below it.
        package: '',
        packageDefinition: packageDefinition(services),
        maxReceiveMessageLength: MAX_REQUEST_BYTES,
        // Finds callers that vanished without closing their connection.
        keepalive: { keepaliveTimeMs: 60_000, keepaliveTimeoutMs: 20_000 },
        gracefulShutdown: true,
        channelOptions: { interceptors: [this.interceptor] } as GrpcOptions['options']['channelOptions'],
        onLoadPackageDefinition: (_definition: unknown, server: Server) => {
          this.server = server;
          this.health.addTo(server);
          if (reflection) {
            const files = { files: { fileDescriptorProtos: descriptorFiles(services) } } as unknown;
            new ReflectionService(files as ConstructorParameters<typeof ReflectionService>[0], {
              services: services.map(({ typeName }) => typeName),
            }).addToServer(server);
          }
          routeUnknownMethods(server);
        },
      },
    };
  }

  /** Stops accepting, ends what is only watched, and waits for the calls under way. */
  async drain(): Promise<void> {
    this.health.stop();
    const { server } = this;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    for (const end of this.endStream) end();
    await closed;
  }

  /** Ends the calls that did not end in time. */
  forceClose(): void {
    this.server?.forceShutdown();
  }

  /** Sees every call, also those that are refused before a handler is found or a message is read. */
  private readonly interceptor: ServerInterceptor = (method, call) => {
    const startedAt = performance.now();
    const rpc = method.path.slice(1);
    let requestId: string | undefined;
    const id = () => (requestId ??= requestIdFrom(undefined));
    const peer = call.getConnectionInfo().remoteAddress;
    let client = clientAddress(peer, undefined, this.options.trust);
    let ended = false;
    const end = (code: Code) => {
      if (ended) return;
      ended = true;
      this.endStream.delete(endStream);
      logCall({ transport: 'grpc', rpc, code, startedAt, requestId: id(), client });
    };
    const endStream = () => call.sendStatus({ code: Code.UNAVAILABLE as number, details: 'the server is shutting down', metadata: null });
    // A watched stream has no end of its own, and would hold up a shutdown.
    if (method.responseStream) this.endStream.add(endStream);

    // Not by a responder: grpc-js answers what it refuses itself, such as a message that is too large, past those.
    const sendStatus = call.sendStatus.bind(call);
    call.sendStatus = (status) => {
      const metadata = withDetails(status.code as number, status.details ?? '', status.metadata ?? new Metadata());
      metadata.set(REQUEST_ID, id());
      end(status.code as number);
      sendStatus({ ...status, metadata });
    };

    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            requestId ??= requestIdFrom(metadata.get(REQUEST_ID)[0]);
            const forwardedFor = metadata.get('x-forwarded-for').join(', ');
            if (forwardedFor !== '') client = clientAddress(peer, forwardedFor, this.options.trust);
            pass(metadata);
          },
          // From here the handler of a unary call runs.
          onReceiveHalfClose: (pass) => withCaller({ requestId: id(), client }, pass),
          onCancel: () => end(Code.CANCELLED),
        }),
      sendMetadata: (metadata, next) => {
        metadata.set(REQUEST_ID, id());
        next(metadata);
      },
    });
  };
}

interface UnknownMethodHandler {
  readonly path: string;
  readonly type: 'bidi';
  readonly func: (call: ServerDuplexStream<Buffer, Buffer>) => void;
  readonly serialize: (message: Buffer) => Buffer;
  readonly deserialize: (message: Buffer) => Buffer;
}

/**
 * grpc-js answers unknown methods by itself, before any interceptor runs. With
 * a handler for them they are logged, and carry a request id, as every call.
 * The lookup is private: should it go, they are answered as before.
 */
function routeUnknownMethods(server: Server): void {
  const internals = server as unknown as { _retrieveHandler?: (path: string) => object | null };
  const lookUp = internals._retrieveHandler?.bind(server);
  if (!lookUp) return;
  const unknown: UnknownMethodHandler = {
    path: `/${UNKNOWN_RPC}`,
    type: 'bidi',
    func: (call) => call.emit('error', { code: Code.UNIMPLEMENTED, details: 'there is no such method' }),
    serialize: (message) => message,
    deserialize: (message) => message,
  };
  internals._retrieveHandler = (path) => lookUp(path) ?? unknown;
}
