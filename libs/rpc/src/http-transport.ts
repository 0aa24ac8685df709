import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import cors from '@fastify/cors';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { type Call, isHealthCheck, logCall, REQUEST_ID, requestIdFrom, UNKNOWN_RPC, withCall } from './call.js';
import { CallSpan } from './call-telemetry.js';
import { clientAddress, type Trust } from './client-address.js';
import { rpcNameOf } from './http-binding.js';
import { answeredCode, sendError } from './http-error.js';
import { LateRequests } from './late-requests.js';
import { Bounded, BoundedConnections, type Limits } from './limits.js';
import { Code, RpcError } from './rpc-error.js';
import { takeUpWhatHasArrived } from './take-up.js';

/** The largest request, in bytes, on either transport. */
export const MAX_REQUEST_BYTES = 64 * 1024;

/** For how long a browser need not ask again whether a page may call. Seconds. */
const PREFLIGHT_AGE = 600;

/** How long a refused request is read on, in milliseconds, and how much of it. */
export const SWALLOW_TIMEOUT = 1_000;
const SWALLOW_BYTES = 16 * 1024 * 1024;

/** The code that Node has for a request which took too long to arrive. */
const TOO_LATE = 'ERR_HTTP_REQUEST_TIMEOUT';

/** What every answer says unless it says otherwise: it is what its content-type calls it, and nobody's to keep. */
const ANSWER_HEADERS = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' };

/** A path of the app begins with the base path that is to be taken off. The message is one line that says which. */
export class BasePathTaken extends Error {
  override readonly name = 'BasePathTaken';

  constructor(
    /** What is wrong with the base path, without its name. */
    readonly problem: string,
  ) {
    super(`basePath: ${problem}`);
  }
}

/**
 * The HTTP server: request ids, the line of a call, the canonical errors for
 * what never reaches a handler, and a shutdown that waits for calls and not
 * for idle connections.
 */
export class HttpTransport extends FastifyAdapter {
  private readonly methodsOf = new Map<string, Set<string>>();
  private readonly connections: BoundedConnections<Socket>;
  private readonly arriving: Bounded<Socket>;
  private readonly late: LateRequests;
  private draining = false;
  private readonly basePath: string;

  /** Runs while the server closes, and is waited for; is given the end of the server's own calls. */
  onDrain: (closed: Promise<void>) => Promise<void> = (closed) => closed;

  /**
   * @param trust which proxies are believed when they say for whom they call.
   * @param basePath is taken off every path that begins with it; empty or `/` for none.
   * @param origins of web pages that may call.
   */
  constructor(trust: Trust, limits: Limits, basePath = '', origins: readonly string[] = []) {
    const base = basePath.replace(/\/$/, '');
    const late = new LateRequests();
    super({
      rewriteUrl: ({ url = '/' }) => withoutBase(url, base),
      trustProxy: trust,
      bodyLimit: MAX_REQUEST_BYTES,
      // Against slow senders. Longer keep-alive than the 60 s of usual load balancers.
      requestTimeout: 30_000,
      keepAliveTimeout: 72_000,
      http: { headersTimeout: 10_000, connectionsCheckingInterval: 5_000 },
      routerOptions: { maxParamLength: 512 },
      // A request that is already on its way is answered: a deploy costs nothing.
      return503OnClosing: false,
      requestIdHeader: false,
      genReqId: (request: IncomingMessage) => requestIdFrom(request.headers[REQUEST_ID]),
      frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
        trackCall(request, reply, trust);
        sendError(reply, RpcError.invalidArgument([], 'the URL is not valid'));
      },
      clientErrorHandler: (failure: Error & { code?: string }, socket: Socket) => {
        const refuse = () => refuseConnection(failure, socket, trust);
        if (failure.code === TOO_LATE) late.isLate(socket, refuse);
        else refuse();
      },
    });
    this.late = late;
    this.basePath = base;
    this.connections = new BoundedConnections(limits.connections, (socket) => socket.destroy());
    this.arriving = new Bounded(limits.arriving, (socket) => socket.destroy());
    const fastify = this.getInstance();
    fastify.addHook('onRoute', (route) => this.registerRoute(route));
    fastify.addHook('onRequest', (request, reply, done) => {
      trackCall(request, reply, trust);
      done();
    });
    // Before whatever answers: a page reads no answer, and so no error, that does not name its origin.
    if (origins.length > 0) {
      void fastify.register(cors, {
        origin: [...origins],
        methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
        allowedHeaders: ['authorization', 'content-type', REQUEST_ID, 'traceparent', 'tracestate'],
        exposedHeaders: [REQUEST_ID, 'retry-after'],
        maxAge: PREFLIGHT_AGE,
        // The answer is that of OPTIONS.
        strictPreflight: false,
        preflightContinue: true,
      });
    }
    fastify.addHook('preParsing', (request, reply, _payload, done) => {
      // Before the body is read: no body makes an unknown path anything else.
      if (request.is404) sendError(reply, RpcError.notFound('there is no such path'));
      else done();
    });
    fastify.addHook('preHandler', (request, _reply, done) => {
      spanOf(request).run(() => withCall(callOf(request, trust), done));
    });
    fastify.addHook('onSend', async (request, reply, payload) => {
      if (this.draining) reply.header('connection', 'close');
      // Whatever answered so: a page and a health check say it too.
      if ((reply.statusCode === 429 || reply.statusCode === 503) && !reply.hasHeader('retry-after')) reply.header('retry-after', '1');
      if (!request.raw.complete) await swallow(request.raw);
      return payload;
    });
    this.useBodyParser(
      'application/json',
      false,
      { bodyLimit: MAX_REQUEST_BYTES },
      (_request: unknown, body: Buffer, done: (error: null, body: Buffer) => void) => done(null, body),
    );
  }

  override initHttpServer(...args: Parameters<FastifyAdapter['initHttpServer']>): void {
    super.initHttpServer(...args);
    this.trackConnections();
  }

  /**
   * Answers OPTIONS of a known path with what it answers to, and every other method with 405; call it when all routes are
   * registered.
   *
   * @throws BasePathTaken when one of them begins with the base path: without that, it would be another path.
   */
  registerMethodNotAllowed(): void {
    const taken = [...this.methodsOf.keys()].find((url) => this.basePath !== '' && `${url}/`.startsWith(`${this.basePath}/`));
    if (taken !== undefined) throw new BasePathTaken(`its path ${this.basePath} is where ${taken} is served: choose another`);
    const fastify = this.getInstance();
    for (const [url, methods] of this.methodsOf) {
      const allow = [...methods].sort().join(', ');
      if (!methods.has('OPTIONS')) {
        fastify.route({
          method: 'OPTIONS',
          url,
          config: { isRefusal: true },
          handler: (_request, reply) => reply.code(204).header('allow', `${allow}, OPTIONS`).send(),
        });
      }
      fastify.route({
        method: fastify.supportedMethods.filter((method) => !methods.has(method) && method !== 'OPTIONS'),
        url,
        config: { isRefusal: true },
        onRequest: (_request, reply) => {
          const options = { reason: 'METHOD_NOT_ALLOWED', httpStatus: 405 };
          sendError(reply.header('allow', allow), RpcError.unimplemented(`this path answers to ${allow}`, options));
        },
        handler: () => undefined,
      });
    }
  }

  override beforeClose(): void {
    super.beforeClose();
    this.draining = true;
  }

  override async close(): Promise<void> {
    await takeUpWhatHasArrived(this.getHttpServer());
    const closed = super.close();
    this.connections.endIdle();
    await this.onDrain(closed);
  }

  /** Ends the connections whose calls did not end in time. */
  forceClose(): void {
    this.getHttpServer().closeAllConnections();
  }

  private registerRoute(route: RouteOptions): void {
    // Where preflights of unknown paths go.
    if (route.url === '*') return;
    const methods = this.methodsOf.get(route.url) ?? new Set<string>();
    for (const method of [route.method].flat()) methods.add(method);
    this.methodsOf.set(route.url, methods);
    const rpc = route.config?.rpc;
    if (!rpc || route.method !== rpc.binding.verb) return;
    // Nest gives a handler one HTTP method; the other bindings share the route's whole pipeline, guards included.
    for (const binding of rpc.additional) {
      this.getInstance().route({
        method: binding.verb,
        url: binding.url,
        config: { rpc: { method: rpc.method, binding, additional: [] } },
        handler: route.handler,
      });
    }
  }

  /** Node closes a connection without a request, such as a browser opens ahead, only at its timeout, and bounds none of it. */
  private trackConnections(): void {
    const server = this.getHttpServer();
    // Node would end it itself, without a listener.
    server.on('timeout', (socket: Socket) => this.late.isIdle(socket, () => socket.destroy()));
    server.on('connection', (socket: Socket) => {
      this.connections.opened(socket);
      socket.once('close', () => this.connections.closed(socket));
    });
    server.on('request', (request: IncomingMessage, response: NodeJS.EventEmitter) => {
      const { socket } = request;
      this.connections.setIdle(socket, false);
      this.arriving.add(socket);
      const arrived = () => {
        this.arriving.delete(socket);
        this.late.arrived(request);
      };
      this.late.begun(request);
      request.once('end', arrived).once('close', arrived);
      response.once('close', () => {
        if (!socket.destroyed) this.connections.setIdle(socket, true);
      });
    });
  }
}

/** The URL of a request without the path that it may begin with, as whole segments. */
function withoutBase(url: string, basePath: string): string {
  const rest = url.slice(basePath.length);
  if (!url.startsWith(basePath) || !/^([/?]|$)/.test(rest)) return url;
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function clientOf(request: FastifyRequest, trust: Trust): string {
  return clientAddress(request.socket.remoteAddress, request.headers['x-forwarded-for'] as string | undefined, trust);
}

const calls = new WeakMap<FastifyRequest, Call>();

/** The call that a request is, the same whenever it is asked for. */
function callOf(request: FastifyRequest, trust: Trust): Call {
  const known = calls.get(request);
  if (known) return known;
  const { authorization, 'user-agent': userAgent } = request.headers;
  const call: Call = { requestId: request.id, client: clientOf(request, trust), authorization, userAgent, isCostly: false };
  calls.set(request, call);
  return call;
}

const spans = new WeakMap<FastifyRequest, CallSpan>();

/** The span of a request, the same whenever it is asked for; the first time is its beginning. */
function spanOf(request: FastifyRequest): CallSpan {
  const known = spans.get(request);
  if (known) return known;
  const { url, config } = request.routeOptions;
  // What no handler answers has no route: a caller could else make a series of each route and method.
  const subject = { transport: 'http', method: request.method, route: request.is404 || config?.isRefusal ? undefined : url } as const;
  const span = CallSpan.begin(subject, request.headers, isHealthCheck(rpcName(request)));
  spans.set(request, span);
  return span;
}

function trackCall(request: FastifyRequest, reply: FastifyReply, trust: Trust): void {
  const startedAt = performance.now();
  void reply.headers({ ...ANSWER_HEADERS, [REQUEST_ID]: request.id });
  // Now: a socket that was closed does not know its peer any more.
  const call = callOf(request, trust);
  const span = spanOf(request);
  // Comes for every request, also for one whose caller went away before the answer.
  reply.raw.once('close', () => {
    const isAnswered = reply.raw.writableFinished;
    const code = isAnswered ? answeredCode(reply) : Code.CANCELLED;
    span.end({ code, status: isAnswered ? reply.statusCode : undefined, startedAt });
    logCall({ transport: 'http', rpc: rpcName(request), code, startedAt, traceId: span.traceId, ...call });
  });
}

/**
 * Reads on what is refused unread, for a moment: a caller that is still sending
 * when the connection closes would see a broken connection, and not the answer.
 */
async function swallow(request: IncomingMessage): Promise<void> {
  if (request.destroyed) return;
  let bytes = 0;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, SWALLOW_TIMEOUT);
    request.once('close', resolve);
    request.once('end', resolve);
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > SWALLOW_BYTES) resolve();
    });
    request.once('close', () => clearTimeout(timer));
    request.resume();
  });
}

/** Never the URL: it holds what the caller wrote into it. */
function rpcName(request: FastifyRequest): string {
  const { config, url } = request.routeOptions;
  const method = config?.rpc?.method;
  if (method) return rpcNameOf(method);
  return `${request.method} ${url ?? UNKNOWN_RPC}`;
}

/** Answers what is not HTTP, or took too long to become it. There is no request yet: nothing but the socket. */
function refuseConnection(failure: Error & { code?: string }, socket: Socket, trust: Trust): void {
  if (failure.code === 'ECONNRESET' || socket.destroyed) return;
  const error = refusal(failure.code);
  const client = clientAddress(socket.remoteAddress, undefined, trust);
  const requestId = requestIdFrom(undefined);
  const body = JSON.stringify(error.toStatusJson());
  const head = [
    `HTTP/1.1 ${error.httpStatus} ${STATUS_CODES[error.httpStatus]}`,
    'connection: close',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `${REQUEST_ID}: ${requestId}`,
    ...Object.entries(ANSWER_HEADERS).map(([name, value]) => `${name}: ${value}`),
  ];
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.destroy();
  logCall({ transport: 'http', rpc: UNKNOWN_RPC, code: error.code, startedAt: performance.now(), requestId, client });
}

function refusal(code: string | undefined): RpcError {
  switch (code) {
    case TOO_LATE:
      return new RpcError(Code.DEADLINE_EXCEEDED, 'the request took too long to arrive', [], { httpStatus: 408 });
    case 'HPE_HEADER_OVERFLOW':
      return RpcError.tooLarge('the headers are too large', 431);
    default:
      return RpcError.invalidArgument([], 'the request is not valid HTTP');
  }
}
