import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import basicAuth from '@fastify/basic-auth';
import { timingSafeEqual, createHash } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { type Config, portUnavailable } from '@app/config';
import type { TaskQueues } from '@app/tasks';
import { fastify, type FastifyInstance } from 'fastify';

/** The path under which the dashboard is served. */
const BASE_PATH = '/queues';

/**
 * Serves Bull Board on a port of its own, behind a password (the user name is
 * `operator`), to look and not to touch: the ledger is the truth about tasks, and
 * what BullMQ alone is told, the ledger would not know. Payloads are not shown.
 *
 * @returns undefined when `DASHBOARD_PORT` is not set.
 * @throws PortUnavailable when the port cannot be listened on.
 */
export async function startDashboard(config: Config, queues: TaskQueues): Promise<FastifyInstance | undefined> {
  const { DASHBOARD_PORT: port, DASHBOARD_PASSWORD: password } = config;
  if (port === undefined || password === undefined) return undefined;
  const server = fastify();
  await server.register(basicAuth, {
    authenticate: { realm: 'Waybill queues' },
    validate: (username, given, _request, _reply, done) => {
      const right = isEqual(username, 'operator') && isEqual(given, password);
      done(right ? undefined : new Error('wrong user name or password'));
    },
  });
  // On every route: Bull Board's own `middleware` option leaves /queues/api/* open.
  server.addHook('onRequest', server.basicAuth);
  const adapters = queues.all().map((queue) => {
    const adapter = new BullMQAdapter(queue, { readOnlyMode: true });
    adapter.setFormatter('data', (data) => redactPayload(data));
    adapter.setFormatter('returnValue', () => '[redacted]');
    return adapter;
  });
  const serverAdapter = new FastifyAdapter();
  serverAdapter.setBasePath(BASE_PATH);
  createBullBoard({ queues: adapters, serverAdapter });
  await server.register(serverAdapter.registerPlugin(), { prefix: BASE_PATH });
  try {
    await server.listen({ host: config.HOST, port });
  } catch (error) {
    await server.close();
    throw portUnavailable(config.HOST, port, 'DASHBOARD_PORT', error);
  }
  new Logger('Dashboard').log({ url: `http://${config.HOST}:${port}${BASE_PATH}` }, 'dashboard is up');
  return server;
}

function redactPayload(data: unknown): unknown {
  return typeof data === 'object' && data !== null ? { ...data, payload: '[redacted]' } : '[redacted]';
}

function isEqual(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
