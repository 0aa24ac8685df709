import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Random } from './random.ts';

/** What a hostile request came to. */
export interface Answer {
  readonly what: string;
  /** HTTP status, or gRPC code; undefined when the connection ended without one. */
  readonly status: number | undefined;
  readonly transport: 'http' | 'grpc';
  readonly text: string;
}

/** Secrets that the requests carry: nothing that the apps say or log may contain them. */
export const CANARY = 'cAnArY7f3e';

const PATIENCE = 20_000;
const PATHS = [
  '/v1/users',
  '/v1/verify_email',
  '/v1/verification_emails',
  '/verify-email',
  '/verify-email/new',
  '/verify-email/not-me',
  '/healthz',
  '/readyz',
  '/',
];
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND'];
const RPCS = ['CreateUser', 'VerifyEmail', 'ResendVerificationEmail', 'Nothing', ''].map((name) => `/account.v1.UserService/${name}`);
const ODD_TEXTS = [
  '',
  ' ',
  '\0',
  '\uD800',
  '𝕏'.repeat(40),
  '\u202Eevil',
  "'; DROP TABLE users; --",
  '${7*7}',
  '%00',
  '../../etc/passwd',
  'a'.repeat(5_000),
  '\r\nx-injected: yes',
  '<script>alert(1)</script>',
  'ＡＤＭＩＮ',
  'İ'.repeat(60),
];

type Request = (random: Random, target: Target) => Promise<Answer>;

/** Where the requests go. */
export interface Target {
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly grpc: Client;
}

function oddValue(random: Random, depth = 0): unknown {
  switch (random.between(0, depth > 3 ? 6 : 9)) {
    case 0:
      return null;
    case 1:
      return random.next() < 0.5;
    case 2:
      return random.pick([0, -1, 1e308, 2 ** 53, -0.5]);
    case 3:
    case 4:
      return random.pick(ODD_TEXTS);
    case 5:
      return `${CANARY}${random.between(0, 1e9)}`;
    case 6:
      return 'x'.repeat(random.between(0, 300));
    case 7:
      return Array.from({ length: random.between(0, 5) }, () => oddValue(random, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: random.between(0, 5) }, () => [
          random.pick(['a', '__proto__', 'constructor', 'email', '']),
          oddValue(random, depth + 1),
        ]),
      );
  }
}

function oddBody(random: Random): string {
  const names = ['username', 'fullName', 'full_name', 'email', 'password', 'token', '__proto__', 'user', ''];
  const fields = Array.from({ length: random.between(0, 7) }, () => [random.pick(names), oddValue(random)] as const);
  const text = JSON.stringify({ ...Object.fromEntries(fields), password: `${CANARY}${random.between(0, 1e9)}` });
  return random.pick([
    text,
    text,
    text.slice(0, random.between(0, text.length)),
    text.replaceAll('"', "'"),
    `[${text}]`,
    `${text}${text}`,
    `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
    JSON.stringify(random.pick(ODD_TEXTS)),
    'NaN',
    '',
  ]);
}

/** A request over Node's own client, which keeps to HTTP's grammar. */
function send(
  what: string,
  target: Target,
  options: { method: string; path: string; headers?: Record<string, string | string[]>; body?: string | Buffer },
): Promise<Answer> {
  return new Promise((resolve) => {
    const answer = (status: number | undefined, text: string) => resolve({ what, status, transport: 'http', text });
    try {
      const request = httpRequest(
        {
          host: '127.0.0.1',
          port: target.httpPort,
          method: options.method,
          path: options.path,
          headers: options.headers ?? {},
          timeout: PATIENCE,
        },
        (response) => {
          let text = JSON.stringify(response.headers);
          response.on('data', (chunk) => (text += String(chunk)));
          response.on('end', () => answer(response.statusCode, text));
          response.on('error', () => answer(response.statusCode, text));
        },
      );
      request.on('timeout', () => request.destroy());
      request.on('error', () => answer(undefined, ''));
      request.end(options.body);
    } catch {
      // Node's client refuses what is not a path or a header.
      answer(undefined, '');
    }
  });
}

/** Bytes as they are, in pieces, and what comes back. */
async function sendRaw(what: string, port: number, pieces: readonly (string | Buffer)[], pause: number): Promise<Answer> {
  const socket = connect({ port, host: '127.0.0.1' });
  let text = '';
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => (text += chunk.toString('latin1')));
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    if (pause > 0) await sleep(pause);
  }
  await Promise.race([closed, sleep(300, undefined, { ref: false })]);
  socket.destroy();
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
  return { what, status: status === undefined ? undefined : Number(status), transport: 'http', text };
}

const json = { 'content-type': 'application/json' };

const bodies: Request = (random, target) =>
  send('odd body', target, { method: 'POST', path: random.pick(PATHS.slice(0, 3)), headers: json, body: oddBody(random) });

const headers: Request = (random, target) => {
  const given: Record<string, string | string[]> = {
    'content-type': random.pick([
      'application/json',
      'text/plain',
      'application/grpc',
      'application/json; charset=utf-7',
      '',
      'multipart/form-data',
      '*/*',
    ]),
    authorization: `Bearer ${CANARY}`,
    cookie: `session=${CANARY}`,
    'x-request-id': random.pick(['a'.repeat(4_000), 'ok-1', '"}{', '\t', ' ']),
    'content-encoding': random.pick(['', 'gzip', 'br', 'nonsense']),
    'x-many': Array.from({ length: random.between(0, 40) }, () => 'v'.repeat(random.between(0, 300))),
    ...(random.next() < 0.2 && { expect: random.pick(['100-continue', 'nonsense']) }),
    ...(random.next() < 0.2 && { 'content-length': random.pick(['0', '5', '999999999', '-1']) }),
  };
  return send('odd headers', target, { method: 'POST', path: random.pick(PATHS), headers: given, body: oddBody(random) });
};

const paths: Request = (random, target) => {
  const part = () =>
    random.pick(['v1', 'users', '%00', '%', '%2e%2e', '..', '', 'a'.repeat(2_000), '%ff%fe', 'verify_email', ':x', '*', ';', '%F0%9F']);
  const path = `/${Array.from({ length: random.between(0, 6) }, part).join('/')}?${random.pick(['', 'token=%', 'a[b]=c', `q=${CANARY}`, '&&&=', 'x'.repeat(3_000)])}`;
  return send('odd path', target, { method: random.pick(METHODS), path: random.next() < 0.3 ? random.pick(PATHS) : path });
};

const tokens: Request = (random, target) => {
  const token = random.pick([...ODD_TEXTS, CANARY, `${CANARY}${'x'.repeat(900)}`, 'A'.repeat(43)]);
  return send('odd token', target, { method: 'POST', path: '/v1/verify_email', headers: json, body: JSON.stringify({ token }) });
};

const pages: Request = (random, target) =>
  send('page with a token', target, {
    method: 'GET',
    path: `/verify-email?token=${encodeURIComponent(random.pick(ODD_TEXTS).toWellFormed())}`,
  });

const oversize: Request = (random, target) =>
  send('oversize', target, {
    method: 'POST',
    path: random.pick(PATHS),
    headers: json,
    body: Buffer.alloc(random.pick([65_537, 200_000, 3_000_000]), random.pick(['{', ' ', 'a', '\0'])),
  });

const slow: Request = (random, target) =>
  sendRaw(
    'slow sender',
    target.httpPort,
    random.pick([
      ['POST /v1/users HTTP/1.1\r\n', 'Host: x\r\n', 'Content-Length: 100\r\n', 'Content-Type: application/json\r\n\r\n', '{"use', 'rname'],
      ['GET /', 'healthz', ' HTTP', '/1.1\r\n', 'X: '],
      ['P', 'O', 'S', 'T', ' '],
    ]),
    random.between(20, 200),
  );

const garbage: Request = (random, target) => {
  const bytes = Buffer.from(Array.from({ length: random.between(1, 600) }, () => random.between(0, 255)));
  const raw = random.pick<readonly (string | Buffer)[]>([
    [bytes],
    ['GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n', bytes],
    ['POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n', bytes],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', bytes],
    [`GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`],
    ['GET /%2f%2f HTTP/9.9\r\n\r\n'],
    ['GET http://other.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ]);
  return sendRaw('garbage', random.next() < 0.5 ? target.httpPort : target.grpcPort, raw, 0);
};

let signUps = 0;
const flood: Request = async (random, target) => {
  const username = `flood_${random.between(0, 1e9)}_${++signUps}`;
  const body = JSON.stringify({ username, fullName: 'A Flood', email: `${username}@example.com`, password: `${CANARY}-password` });
  return send('flood of sign-ups', target, { method: 'POST', path: '/v1/users', headers: json, body });
};

function call(
  what: string,
  target: Target,
  path: string,
  message: Buffer,
  metadata: Metadata,
  deadline: number,
  cancelAfter?: number,
): Promise<Answer> {
  return new Promise((resolve) => {
    const asIs = (bytes: Buffer) => bytes;
    const done = (error: ServiceError | null, bytes?: Buffer) =>
      resolve({
        what,
        status: error ? error.code : 0,
        transport: 'grpc',
        text: `${error?.details ?? ''}${JSON.stringify(error?.metadata?.getMap() ?? {})}${bytes?.toString('latin1') ?? ''}`,
      });
    try {
      const sent = target.grpc.makeUnaryRequest(path, asIs, asIs, message, metadata, { deadline: Date.now() + deadline }, done);
      if (cancelAfter !== undefined) setTimeout(() => sent.cancel(), cancelAfter);
    } catch {
      resolve({ what, status: undefined, transport: 'grpc', text: '' });
    }
  });
}

const rpcs: Request = (random, target) => {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${CANARY}`);
  if (random.next() < 0.3) metadata.set('x-request-id', random.pick(['a'.repeat(3_000), 'ok', '{}']));
  if (random.next() < 0.1) metadata.set('x-odd-bin', Buffer.from([0, 255, 1]));
  const message = random.pick([
    () => Buffer.from(Array.from({ length: random.between(0, 300) }, () => random.between(0, 255))),
    () => Buffer.alloc(0),
    () => field(1, random.pick(ODD_TEXTS)),
    () => Buffer.concat([field(1, 'some_name'), field(2, 'A Name'), field(3, random.pick(ODD_TEXTS)), field(4, `${CANARY}pw`)]),
    () => Buffer.concat(Array.from({ length: 50 }, () => field(random.between(1, 4), CANARY))),
    () => Buffer.alloc(random.pick([65_537, 300_000, 5_000_000]), 10),
    () => Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  ])();
  const cancelAfter = random.next() < 0.1 ? random.between(0, 20) : undefined;
  return call(
    'odd call',
    target,
    random.pick(RPCS),
    message,
    metadata,
    random.next() < 0.1 ? random.between(1, 20) : PATIENCE,
    cancelAfter,
  );
};

/** A length-delimited field of a protobuf message. */
function field(number: number, text: string): Buffer {
  const bytes = Buffer.from(text);
  const length: number[] = [];
  let rest = bytes.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}

const KINDS: readonly Request[] = [
  bodies,
  bodies,
  bodies,
  headers,
  headers,
  paths,
  paths,
  tokens,
  pages,
  oversize,
  slow,
  garbage,
  flood,
  rpcs,
  rpcs,
  rpcs,
  rpcs,
];

/** One hostile request of a kind that the random numbers choose. */
export function hostileRequest(random: Random, target: Target): Promise<Answer> {
  return random.pick(KINDS)(random, target);
}
