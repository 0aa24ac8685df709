import { Logger } from '@nestjs/common';
import { portUnavailable, type PortVariable } from '@app/config';
import { fastify } from 'fastify';

/** How an app is, in words for whoever operates it. */
export interface Health {
  /** Why the process does not work any more, and should be started again; undefined while it does. */
  hung(): string | undefined;
  /** Why it cannot do its work at the moment; undefined when it can. Answers within a few seconds, and never throws. */
  unready(): Promise<string | undefined>;
}

/** What is served. */
export interface ProbesOptions {
  readonly host: string;
  /** Undefined: nothing is served. */
  readonly port: number | undefined;
  readonly variable: PortVariable;
  /** Who is asked, at each request; without one there are neither `/healthz` nor `/readyz`. */
  readonly health?: () => Health;
  readonly metrics: (() => Promise<string>) | undefined;
}

/** More than a Prometheus, a kubelet and a person with a browser have together. */
const MAX_CONNECTIONS = 200;
const REQUEST_TIMEOUT = 10_000;
/** Whoever holds connections and asks nothing must not keep the probes out. Milliseconds. */
const IDLE_TIMEOUT = 5_000;

/**
 * Serves `/metrics` and, where there is somebody to ask, `/healthz` and `/readyz`,
 * to machines within the network: it has no password.
 *
 * @throws PortUnavailable when the port cannot be listened on.
 */
export async function startProbes({ host, port, variable, health, metrics }: ProbesOptions): Promise<void> {
  if (port === undefined) return;
  const server = fastify({
    requestTimeout: REQUEST_TIMEOUT,
    keepAliveTimeout: IDLE_TIMEOUT,
    http: { headersTimeout: IDLE_TIMEOUT, connectionsCheckingInterval: 1_000 },
    forceCloseConnections: true,
  });
  server.server.maxConnections = MAX_CONNECTIONS;
  const answer = (reason: string | undefined) =>
    reason === undefined ? ([200, { status: 'ok' }] as const) : ([503, { status: 'unavailable', reason }] as const);
  if (health) {
    server.get('/healthz', (_request, reply) => {
      const [code, body] = answer(health().hung());
      return reply.code(code).send(body);
    });
    server.get('/readyz', async (_request, reply) => {
      const [code, body] = answer(health().hung() ?? (await health().unready()));
      return reply.code(code).send(body);
    });
  }
  if (metrics) {
    let collecting: Promise<string> | undefined;
    server.get('/metrics', async (_request, reply) => {
      // However many ask at once.
      collecting ??= metrics().finally(() => (collecting = undefined));
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(await collecting);
    });
  }
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ message: 'there is no such page' }));
  try {
    await server.listen({ host, port });
  } catch (error) {
    await server.close();
    throw portUnavailable(host, port, variable, error);
  }
  new Logger('Probes').log({ url: `http://${host.includes(':') ? `[${host}]` : host}:${port}` }, 'probes are up');
}
