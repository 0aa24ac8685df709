import type { DescMethod, DescService } from '@bufbuild/protobuf';
import type { DynamicModule, LoggerService, Type } from '@nestjs/common';
import { ModulesContainer, NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { assertPortsAvailable, type Config } from '@app/config';
import { AccessGuard, type Authenticate } from './access.guard.js';
import { trustOf } from './client-address.js';
import { GrpcTransport } from './grpc-transport.js';
import { HttpTransport } from './http-transport.js';
import { DEFAULT_LIMITS, type Limits } from './limits.js';
import { Readiness } from './readiness.js';
import { assertRpcHandlers } from './rpc-handlers.js';
import { RpcExceptionFilter, type TranslateError } from './rpc.filter.js';
import { RpcInterceptor } from './rpc.interceptor.js';
import { SourceLimitInterceptor } from './source-limit.interceptor.js';
import type { SourceLimiter } from './source-limiter.js';

/** How long calls under way may take to end when the app shuts down, in milliseconds. */
const SHUTDOWN_TIMEOUT = 10_000;

/** What an app serves, and where. */
export interface RpcAppOptions {
  readonly config: Pick<Config, 'HOST' | 'HTTP_PORT' | 'GRPC_PORT' | 'isProduction'> &
    Partial<Pick<Config, 'TRUST_PROXY' | 'CORS_ORIGINS'>>;
  /** The services whose methods the module's controllers implement with `@Rpc()`. */
  readonly services: readonly DescService[];
  /** A path that is taken off where a request's begins with it, because a proxy may leave it there: `/accounts`. */
  readonly basePath?: string;
  /** Recognises errors of the composition; by default none. */
  readonly translate?: TranslateError;
  /** Finds out who calls, for RPCs that are not for everybody; without it all are. */
  readonly authenticate?: Authenticate;
  /** Logs from the very start; without one, lines are kept until `app.useLogger()`. */
  readonly logger?: LoggerService | false;
  /** The bound of a graceful shutdown, in milliseconds; 10 s by default. */
  readonly shutdownTimeout?: number;
  /** How much is taken from callers at once, where it is not the default. */
  readonly limits?: Partial<Limits>;
  /** Which RPCs a source may call only so often; by default none. */
  readonly sourceLimits?: ReadonlyMap<DescMethod, SourceLimiter>;
}

/** An app that serves its RPCs on HTTP and gRPC. */
export interface RpcApp {
  /** The Nest application, for its logger and its providers. */
  readonly nest: NestFastifyApplication;
  /**
   * Serves, until a signal or `nest.close()` ends it: first no new calls, then those under way, then what they needed.
   *
   * @throws BasePathTaken before anything is served, when a path of the app begins with `basePath`.
   */
  listen(): Promise<void>;
}

/**
 * Creates the app of a module whose controllers use `@Rpc()`, and which
 * provides a {@link Readiness}.
 *
 * @throws PortUnavailable before anything is started, when a port is taken.
 * @throws Error that names them, when RPCs of the services cannot be served: without a handler, with two, on one path.
 */
export async function createRpcApp(module: Type | DynamicModule, options: RpcAppOptions): Promise<RpcApp> {
  const { config, services } = options;
  // Before Nest does, which would log a stack and may already serve the other port.
  await assertPortsAvailable(config, 'HTTP_PORT', 'GRPC_PORT');

  const trust = trustOf(config.TRUST_PROXY ?? false);
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const http = new HttpTransport(trust, limits, options.basePath, config.CORS_ORIGINS);
  const nest = await NestFactory.create<NestFastifyApplication>(module, http, {
    abortOnError: false,
    ...(options.logger === undefined ? { bufferLogs: true } : { logger: options.logger }),
  });
  const controllers = [...nest.get(ModulesContainer).values()].flatMap((each) => [...each.controllers.values()]);
  assertRpcHandlers(
    controllers.map(({ metatype }) => metatype as Type),
    services,
  );
  nest.useGlobalFilters(new RpcExceptionFilter(options.translate ?? (() => undefined)));
  if (options.authenticate) nest.useGlobalGuards(new AccessGuard(options.authenticate));
  nest.useGlobalInterceptors(new RpcInterceptor(), new SourceLimitInterceptor(options.sourceLimits ?? new Map(), limits));

  const grpc = new GrpcTransport({
    services,
    url: `${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${config.GRPC_PORT}`,
    reflection: !config.isProduction,
    readiness: nest.get(Readiness, { strict: false }),
    trust,
    limits,
  });
  nest.connectMicroservice(grpc.microserviceOptions(), { inheritAppConfig: true });

  http.onDrain = async (closed) => {
    const force = setTimeout(() => {
      http.forceClose();
      grpc.forceClose();
    }, options.shutdownTimeout ?? SHUTDOWN_TIMEOUT);
    // Nest closes HTTP and then gRPC; both drain at once, within one bound.
    await Promise.all([closed, grpc.drain()]).finally(() => clearTimeout(force));
  };
  nest.enableShutdownHooks([], { useProcessExit: true });

  return {
    nest,
    async listen() {
      await nest.init();
      http.registerMethodNotAllowed();
      await nest.listen(config.HTTP_PORT, config.HOST);
      await nest.startAllMicroservices();
      grpc.boundConnections();
    },
  };
}
