import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import basicAuth from '@fastify/basic-auth';
import { timingSafeEqual, createHash } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { type Config, portUnavailable } from '@app/config';
import type { TaskQueues } from '@app/tasks';
import { fastify, type FastifyInstance } from 'fastify';
import { TokenBucket } from 'limiter';
import { LRUCache } from 'lru-cache';

/** The path under which the dashboard is served. */
const BASE_PATH = '/queues';

/** How many wrong passwords an address may try at once, and then a minute; a right one has to wait as well. */
const GUESSES = { bucketSize: 10, tokensPerInterval: 10, interval: 'minute' } as const;
/** How many addresses are remembered; the one that was not heard of for longest is forgotten. */
const GUESSERS = 10_000;

/** Nothing from elsewhere, Bull Board's fonts included, and no frame around it. */
const HEADERS = {
  'content-security-policy':
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

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
  server.addHook('onRequest', async (_request, reply) => void reply.headers(HEADERS));
  const guesses = new Guesses();
  await server.register(basicAuth, {
    authenticate: { realm: 'Waybill queues' },
    validate: (username, given, request, reply, done) => {
      const wait = guesses.take(request.ip);
      if (wait > 0) {
        reply.header('retry-after', Math.ceil(wait / 1_000));
        return done(Object.assign(new Error('too many wrong passwords, try again later'), { statusCode: 429 }));
      }
      const right = isEqual(username, 'operator') && isEqual(given, password);
      if (right) guesses.giveBack(request.ip);
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

/** Counts the wrong passwords of each address. */
class Guesses {
  private readonly buckets = new LRUCache<string, TokenBucket>({ max: GUESSERS });

  /** Counts one. @returns how long to wait when it is one too many, in milliseconds, or 0. */
  take(address: string): number {
    let bucket = this.buckets.get(address);
    if (!bucket) {
      bucket = new TokenBucket(GUESSES);
      bucket.content = GUESSES.bucketSize;
      this.buckets.set(address, bucket);
    }
    return bucket.tryRemoveTokens(1) ? 0 : bucket.getWaitTime(1);
  }

  /** The one that was counted last was right. */
  giveBack(address: string): void {
    const bucket = this.buckets.get(address);
    if (bucket) bucket.content = Math.min(bucket.content + 1, bucket.bucketSize);
  }
}

function redactPayload(data: unknown): unknown {
  return typeof data === 'object' && data !== null ? { ...data, payload: '[redacted]' } : '[redacted]';
}

function isEqual(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
