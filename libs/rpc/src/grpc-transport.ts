import { constants, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { DescService } from '@bufbuild/protobuf';
import {
  Metadata,
  type MethodDefinition,
  type Server,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { type GrpcOptions, Transport } from '@nestjs/microservices';
import { limit } from '@app/postgres';
import { type Call, isHealthCheck, logCall, REQUEST_ID, requestIdFrom, UNKNOWN_RPC, withCall } from './call.js';
import { CallSpan } from './call-telemetry.js';
import { clientAddress, type Trust } from './client-address.js';
import { grpcError, withDetails } from './grpc-error.js';
import { GrpcHealth } from './grpc-health.js';
import { addReflection } from './grpc-reflection.js';
import { MAX_REQUEST_BYTES, SWALLOW_TIMEOUT } from './http-transport.js';
import { Bounded, BoundedConnections, type Limits } from './limits.js';
import type { Readiness } from './readiness.js';
import { Code, RpcError } from './rpc-error.js';
import { takeUpWhatHasArrived } from './take-up.js';

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
  readonly limits: Limits;
}

/** How long a connection may be idle, and live, before the client is asked for another one, in milliseconds. */
const CONNECTION_IDLE = 5 * 60_000;
const CONNECTION_AGE = 30 * 60_000;
/** What calls under way then get to end. */
const CONNECTION_GRACE = 30_000;

/** How long a client may take to hang up when it is made to, in milliseconds. */
const HANG_UP_TIMEOUT = 1_000;

/** How long an answer may wait for its caller to take it, in milliseconds. */
const ANSWER_TIMEOUT = 10_000;

/**
 * The gRPC server: request ids, the line of a call, health, reflection, and a
 * shutdown that waits for calls.
 */
export class GrpcTransport {
  private server?: Server;
  private readonly health: GrpcHealth;
  /** How to end, with a status, the streams that nobody else would, and the calls whose request is still arriving. */
  private readonly watching: Bounded<EndCall>;
  private readonly arriving: Bounded<EndCall>;
  private readonly sockets = new Set<Socket>();

  constructor(private readonly options: GrpcTransportOptions) {
    const { watching, arriving } = options.limits;
    this.watching = new Bounded(watching, (end) => end(RpcError.resourceExhausted('too many are watching')));
    this.arriving = new Bounded(arriving, (end) => end(RpcError.resourceExhausted('too many requests are arriving')));
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
        channelOptions: {
          interceptors: [this.interceptor],
          'grpc.max_concurrent_streams': this.options.limits.callsPerConnection,
          'grpc.max_connection_idle_ms': CONNECTION_IDLE,
          'grpc.max_connection_age_ms': CONNECTION_AGE,
          'grpc.max_connection_age_grace_ms': CONNECTION_GRACE,
        } as GrpcOptions['options']['channelOptions'],
        onLoadPackageDefinition: (_definition: unknown, server: Server) => {
          this.server = server;
          this.health.addTo(server);
          if (reflection) addReflection(server, services);
          routeUnknownMethods(server);
        },
      },
    };
  }

  /** Bounds what callers can hold on to beside calls; call it when the server listens. */
  boundConnections(): void {
    for (const http2Server of this.http2Servers) {
      http2Server.on('connection', (socket) => {
        this.sockets.add(socket);
        socket.once('close', () => this.sockets.delete(socket));
      });
      const connections = new BoundedConnections<ServerHttp2Session>(this.options.limits.connections, (session) => session.destroy());
      http2Server.on('session', (session) => {
        connections.opened(session);
        session.once('close', () => connections.closed(session));
      });
      const streamsOf = new WeakMap<ServerHttp2Session, number>();
      http2Server.on('stream', (stream: ServerHttp2Stream) => {
        endWithAnswer(stream);
        const session = stream.session as ServerHttp2Session;
        const count = (change: 1 | -1) => {
          const streams = (streamsOf.get(session) ?? 0) + change;
          streamsOf.set(session, streams);
          connections.setIdle(session, streams === 0);
        };
        count(1);
        stream.once('close', () => count(-1));
      });
    }
  }

  private get http2Servers(): Iterable<Http2Server> {
    // Private. Should it go, what is left are the bounds of grpc-js itself.
    const { http2Servers } = this.server as unknown as { readonly http2Servers?: ReadonlyMap<Http2Server, unknown> };
    return http2Servers?.keys() ?? [];
  }

  /** Stops accepting, ends what is only watched, and waits for the calls under way. */
  async drain(): Promise<void> {
    this.health.stop();
    const { server } = this;
    if (!server) return;
    for (const http2Server of this.http2Servers) await takeUpWhatHasArrived(http2Server);
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    for (const end of this.watching) end(RpcError.unavailable('the server is shutting down'));
    await closed;
  }

  /** Ends the calls that did not end in time. */
  forceClose(): void {
    this.server?.forceShutdown();
    // A session that is destroyed still waits for its client to hang up, and some never do.
    setTimeout(() => this.sockets.forEach((socket) => socket.destroy()), HANG_UP_TIMEOUT);
  }

  /** Sees every call, also those that are refused before a handler is found or a message is read. */
  private readonly interceptor: ServerInterceptor = (method, call) => {
    const startedAt = performance.now();
    const rpc = method.path.slice(1);
    let requestId: string | undefined;
    const id = () => (requestId ??= requestIdFrom(undefined));
    const peer = call.getConnectionInfo().remoteAddress;
    let client = clientAddress(peer, undefined, this.options.trust);
    let caller: Pick<Call, 'authorization' | 'userAgent'> = {};
    let handled: Call | undefined;
    let begun: CallSpan | undefined;
    // A call that is refused before its metadata has come is part of nobody's trace.
    const span = (carrier = {}) => (begun ??= CallSpan.begin({ transport: 'grpc', rpc }, carrier, isHealthCheck(rpc)));
    let ended = false;
    const end = (code: Code) => {
      if (ended) return;
      ended = true;
      this.watching.delete(endCall);
      arrived();
      span().end({ code, startedAt });
      logCall({ transport: 'grpc', rpc, code, startedAt, requestId: id(), client, userId: handled?.userId, traceId: span().traceId });
    };
    const endCall: EndCall = (error) => call.sendStatus(grpcError(error));
    const tooLate = () => endCall(new RpcError(Code.DEADLINE_EXCEEDED, 'the request took too long to arrive'));
    const endWait = limit(this.options.limits.arrivalTimeout, tooLate);
    const arrived = () => {
      endWait();
      this.arriving.delete(endCall);
    };

    // Not by a responder: grpc-js answers what it refuses itself, such as a message that is too large, past those.
    const sendStatus = call.sendStatus.bind(call);
    call.sendStatus = (status) => {
      const metadata = withDetails(status.code as number, status.details ?? '', status.metadata ?? new Metadata());
      metadata.set(REQUEST_ID, id());
      end(status.code as number);
      sendStatus({ ...status, metadata });
    };

    this.arriving.add(endCall);
    // A watched stream has no end of its own, and would hold up a shutdown.
    if (method.responseStream) this.watching.add(endCall);

    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            requestId ??= requestIdFrom(metadata.get(REQUEST_ID)[0]);
            span(metadata.getMap());
            caller = { authorization: textOf(metadata, 'authorization'), userAgent: textOf(metadata, 'user-agent') };
            const forwardedFor = metadata.get('x-forwarded-for').join(', ');
            if (forwardedFor !== '') client = clientAddress(peer, forwardedFor, this.options.trust);
            pass(metadata);
          },
          onReceiveMessage: (message, pass) => {
            // Of a caller that streams, the first message is all that is waited for.
            if (method.requestStream) arrived();
            pass(message);
          },
          // From here the handler of a unary call runs.
          onReceiveHalfClose: (pass) => {
            arrived();
            handled = { ...caller, requestId: id(), client, isCostly: false };
            const call = handled;
            span().run(() => withCall(call, pass));
          },
          onCancel: () => end(Code.CANCELLED),
        }),
      sendMetadata: (metadata, next) => {
        metadata.set(REQUEST_ID, id());
        next(metadata);
      },
    });
  };
}

/** The one text of a key of metadata; undefined when there is none, or several. */
function textOf(metadata: Metadata, key: string): string | undefined {
  const [value, ...others] = metadata.get(key);
  return typeof value === 'string' && others.length === 0 ? value : undefined;
}

/** Ends a call with an error. */
type EndCall = (error: RpcError) => void;

/** An answered call is over, also where the caller goes on sending or does not take the answer. */
function endWithAnswer(stream: ServerHttp2Stream): void {
  // Not with NO_ERROR: Node's client would go on waiting for the end of what it sends, and never close its connection.
  const close = () => stream.close(constants.NGHTTP2_CANCEL);
  stream.once('finish', () => {
    if (stream.readableEnded) return;
    // A caller that is still sending is read on for a moment, so that it comes to read the answer.
    const timer = setTimeout(close, SWALLOW_TIMEOUT);
    stream.once('close', () => clearTimeout(timer));
  });
  stream.setTimeout(ANSWER_TIMEOUT, () => {
    if (stream.writableEnded) close();
  });
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
