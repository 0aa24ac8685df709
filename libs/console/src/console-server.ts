import { isIP } from 'node:net';
import cookies from '@fastify/cookie';
import { Logger } from '@nestjs/common';
import { type Config, portUnavailable } from '@app/config';
import { isTransient } from '@app/postgres';
import { DispatcherUnavailable, InvalidTask, Refused, type TaskConsole, UnknownName } from '@app/tasks';
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import pLimit from 'p-limit';
import { z } from 'zod';
import { Assets } from './assets.js';
import { ConsoleApi } from './console-api.js';
import { logInPage, SHELL } from './documents.js';
import { Guesses } from './guesses.js';
import { Refusal } from './refusal.js';
import { MAX_NAME, type Session, SESSION_LIFETIME, Sessions } from './sessions.js';

/** The only user there is. */
const USER_NAME = 'operator';
const COOKIE = 'waybill_console';

/** Nothing from elsewhere, no script within a document, and no frame around one. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  // By none at all a browser would say of our own forms, too, that they come from nowhere ({@link isSameOrigin}).
  'referrer-policy': 'same-origin',
  'x-robots-tag': 'noindex',
  'cache-control': 'no-store',
};

/** More than a payload of 64 KiB takes when all of it is escaped. */
const MAX_BODY = 512 * 1_024;
const MAX_CONNECTIONS = 500;
/** Milliseconds. */
const REQUEST_TIMEOUT = 30_000;
/** How many requests ask the database at once, and how many may wait for their turn: handlers need its connections more. */
const AT_ONCE = 4;
const WAITING = 100;

const logInForm = z.object({
  username: z.string(),
  password: z.string(),
  name: z.string().optional().default(''),
  next: z.string().optional().default('/'),
});

/**
 * Serves the operators' page on a port of its own, behind a password: what the tasks
 * are doing, as the ledger has it, and what an operator does about it.
 *
 * @returns undefined when `CONSOLE_PORT` is not set.
 * @throws PortUnavailable when the port cannot be listened on.
 */
export async function startConsole(config: Config, tasks: TaskConsole): Promise<FastifyInstance | undefined> {
  const { CONSOLE_PORT: port, CONSOLE_PASSWORD: password, HOST: host } = config;
  if (port === undefined || password === undefined) return undefined;
  const server = fastify({
    trustProxy: trustOf(config.TRUST_PROXY),
    bodyLimit: MAX_BODY,
    requestTimeout: REQUEST_TIMEOUT,
    forceCloseConnections: true,
  });
  server.server.maxConnections = MAX_CONNECTIONS;
  const logger = new Logger('Console');
  const door = new Door(new Sessions(config.SECRET_KEY, password), new Guesses());
  const api = new ConsoleApi(tasks, config.CONSOLE_READ_ONLY);
  const assets = new Assets();
  const turns = pLimit(AT_ONCE);

  await server.register(cookies);
  // A form of another site could send it.
  server.removeContentTypeParser('text/plain');
  server.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) =>
    done(null, Object.fromEntries(new URLSearchParams(String(body)))),
  );
  server.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS);
    // Whoever makes a name of his own point here could log in by the password that everybody knows.
    if (config.isConsolePasswordKnown && !isAddress(request.hostname)) throw new Refusal(403, 'here the console is for localhost alone');
    if (request.method !== 'GET' && request.method !== 'HEAD' && !isSameOrigin(request)) {
      throw new Refusal(403, 'the request comes from another page');
    }
  });
  server.setErrorHandler((error, _request, reply) => {
    const { status, message } = refusalOf(error);
    // What is away is told by whoever waits for it.
    if (status === 500) logger.error({ err: error }, message);
    return reply.code(status).send({ message });
  });
  server.setNotFoundHandler((request, reply) => {
    // Whoever has come by a wrong address is told so by the page.
    // (By two slashes it would read the path for another site.)
    if (request.headers.accept?.includes('text/html') && !request.url.startsWith('//') && door.sessionOf(request))
      return html(reply.code(404), SHELL);
    return reply.code(404).send({ message: 'there is no such page' });
  });

  server.get<{ Params: { name: string } }>('/assets/:name', (request, reply) => assets.send(request.params.name, request, reply));
  server.get<{ Querystring: { next?: string } }>('/login', (request, reply) =>
    html(reply, logInPage({ next: pathOf(String(request.query.next ?? '/')) })),
  );
  server.get('/login/known', (request, reply) => reply.send({ isKnown: door.sessionOf(request) !== undefined }));
  server.post('/login', (request, reply) => door.logIn(request, reply));
  server.post('/logout', (_request, reply) => reply.clearCookie(COOKIE, { path: '/' }).redirect('/login', 303));

  for (const path of ['/', '/tasks', '/tasks/:id', '/dead', '/schedules', '/workers', '/actions']) {
    server.get(path, (request, reply) => {
      if (door.sessionOf(request)) return html(reply, SHELL);
      return reply.redirect(request.url === '/' ? '/login' : `/login?next=${encodeURIComponent(request.url)}`, 303);
    });
  }

  const answer = async (request: FastifyRequest, work: (session: Session) => Promise<unknown>) => {
    const session = door.sessionOf(request);
    if (!session) throw new Refusal(401, 'log in first');
    if (turns.pendingCount >= WAITING) throw new Refusal(503, 'too many requests wait for the database');
    return turns(() => work(session));
  };
  server.get<{ Params: { name: string }; Querystring: { input?: string } }>('/api/:name', async (request, reply) => {
    const { name } = request.params;
    return reply.send(await answer(request, (session) => api.ask(name, jsonOf(request.query.input), session)));
  });
  server.post<{ Params: { name: string } }>('/api/:name', async (request, reply) => {
    const { name } = request.params;
    return reply.send(await answer(request, (session) => api.command(name, request.body, session)));
  });

  try {
    await server.listen({ host, port });
  } catch (error) {
    await server.close();
    throw portUnavailable(host, port, 'CONSOLE_PORT', error);
  }
  logger.log({ url: `http://${host.includes(':') ? `[${host}]` : host}:${port}` }, 'console is up');
  return server;
}

/** Lets operators in. */
class Door {
  private readonly logger = new Logger('Console');

  constructor(
    private readonly sessions: Sessions,
    private readonly guesses: Guesses,
  ) {}

  sessionOf(request: FastifyRequest): Session | undefined {
    return this.sessions.read(request.cookies[COOKIE]);
  }

  logIn(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const form = logInForm.safeParse(request.body);
    if (!form.success) throw new Refusal(400, 'this is not the form to log in');
    const { username, password, name, next } = form.data;
    const again = (status: number, problem: string) => html(reply.code(status), logInPage({ next: pathOf(next), problem, name }));
    // Counted before it is looked at, or guesses that come at once would all pass.
    const wait = this.guesses.take(request.ip);
    if (wait > 0) {
      const seconds = Math.ceil(wait / 1_000);
      reply.header('retry-after', seconds);
      return again(429, `Too many wrong passwords came from your address. Try again in ${seconds} s.`);
    }
    const isRight = this.sessions.isPassword(password) && username === USER_NAME;
    this.logger[isRight ? 'log' : 'warn']({ client: request.ip }, isRight ? 'an operator has logged in' : 'a wrong password was given');
    if (!isRight) return again(401, 'The user name or the password is wrong.');
    this.guesses.giveBack(request.ip);
    return reply
      .setCookie(
        COOKIE,
        this.sessions.begin(
          name
            .replace(/[\p{Cc}\p{Cf}]/gu, '')
            .trim()
            .slice(0, MAX_NAME) || USER_NAME,
        ),
        {
          path: '/',
          httpOnly: true,
          sameSite: 'strict',
          secure: request.protocol === 'https',
          maxAge: SESSION_LIFETIME / 1_000,
        },
      )
      .redirect(pathOf(next), 303);
  }
}

/** As Fastify wants it to be said. */
function trustOf(setting: Config['TRUST_PROXY']): boolean | string[] | ((address: string, hop: number) => boolean) {
  if (typeof setting === 'boolean') return setting;
  return typeof setting === 'number' ? (_address, hop) => hop < setting : [...setting];
}

function html(reply: FastifyReply, document: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(document);
}

/** A path of ours, and never another site's address. */
function pathOf(next: string): string {
  if (!URL.canParse(next, 'http://console')) return '/';
  const { origin, pathname, search } = new URL(next, 'http://console');
  // A path of two slashes is another site's.
  return origin === 'http://console' && !pathname.startsWith('//') ? `${pathname}${search}` : '/';
}

function isAddress(hostname: string): boolean {
  return hostname === 'localhost' || isIP(hostname.replace(/^\[|\]$/g, '')) !== 0;
}

/** Whether a page of ours has sent it. A browser says so in one of these, whatever the page says. */
function isSameOrigin({ headers, host }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  const { origin } = headers;
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
}

function jsonOf(text: string | undefined): unknown {
  if (text === undefined) return {};
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Refusal(400, 'the input is not JSON');
  }
}

/** What an error is to the page: what an operator can do something about in its own words, the rest in ours. */
function refusalOf(error: unknown): { status: number; message: string } {
  if (error instanceof Refusal) return error;
  if (error instanceof z.ZodError) return { status: 400, message: z.prettifyError(error) };
  if (error instanceof UnknownName) return { status: 404, message: error.message };
  if (error instanceof InvalidTask || error instanceof Refused) return { status: 409, message: error.message };
  if (error instanceof DispatcherUnavailable) return { status: 503, message: 'Redis does not answer' };
  if (isTransient(error)) return { status: 503, message: 'the database does not answer' };
  const { statusCode, message } = error as { statusCode?: number; message: string };
  // Fastify's own: a body that is too large, or no JSON.
  if (statusCode !== undefined && statusCode < 500) return { status: statusCode, message };
  return { status: 500, message: 'this is our fault; the log of the worker has it' };
}
