import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { create, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { CreateUserRequestSchema, VerifyEmailRequestSchema } from '../bench/lib/contract.ts';
import type { Violation } from './checker.ts';
import type { Flood } from './flood-client.ts';
import type { Context, Result, Scenario } from './run.ts';
import { System } from './system.ts';

/** What an honest client waits for an answer, at the median. The short version shares its cores with all the other tests, and holds nobody to a time. Milliseconds. */
const MEDIAN = 2_000;
const MAIL_PATIENCE = 20_000;
/** Between one honest client and the next, in milliseconds. */
const PAUSE = 150;

/**
 * One source signs people up over 250 connections, without a pause; meanwhile
 * honest clients of other sources sign up and verify their addresses. Once with
 * the limit of every source, and once without, where only the turns at the hashes
 * keep the flood from having all of them.
 */
export function floods(context: Context): Scenario[] {
  const scenario = (name: string, environment: Readonly<Record<string, string>>): Scenario => ({
    name,
    run: () => runFlood(name, environment, context),
  });
  return [
    scenario('sign-ups of one source', { SIGN_UP_BURST: '100', SIGN_UPS_PER_MINUTE: '30' }),
    scenario('sign-ups of one source, without its limit', {}),
  ];
}

async function runFlood(name: string, environment: Readonly<Record<string, string>>, context: Context): Promise<Result> {
  const people = context.short ? 10 : 30;
  const system = await System.open({
    name: `flood ${name}`,
    work: 'sign-ups',
    workers: 1,
    dispatcher: context.redis ? 'redis' : 'postgres',
    postgres: context.postgres,
    redis: context.redis,
    // Whom an honest client calls for is told by a header: not every system has more than one address to call from.
    environment: { ...environment, TRUST_PROXY: 'loopback' },
  });
  const grpc = new Client(`127.0.0.1:${system.grpcPort}`, credentials.createInsecure());
  try {
    await system.start();
    const flood: Flood = { httpPort: system.httpPort, grpcPort: system.grpcPort, connections: 250 };
    const attacker = new Worker(new URL('./flood-client.ts', import.meta.url), { workerData: flood });
    await once(attacker, 'online');
    // The first answers of the flood: from now on it is under way.
    while ((await system.state()).users.length < 10) await sleep(50);

    const lives: Promise<Life>[] = [];
    for (let person = 0; person < people; person++) {
      lives.push(live(system, grpc, person));
      await sleep(PAUSE);
    }
    const lived = await Promise.all(lives);
    attacker.postMessage('stop', []);
    const [answers] = (await once(attacker, 'message')) as [Record<string, number>];
    await attacker.terminate();

    const violations = lived.flatMap(({ refused }) => refused);
    const medians = { 'sign-up': median(lived.map(({ signUp }) => signUp)), verification: median(lived.map(({ verify }) => verify)) };
    for (const [what, waited] of Object.entries(medians)) {
      if (!context.short && waited > MEDIAN)
        violations.push({ kind: 'refused', about: what, detail: `honest clients waited for ${Math.round(waited)} ms at the median` });
    }
    const rest = await system.rest();
    violations.push(...rest.violations, ...(await system.close()));
    const facts = {
      honest: people,
      'sign-up p50 ms': Math.round(medians['sign-up']),
      'max ms': Math.round(Math.max(...lived.map(({ signUp }) => signUp))),
      'verification p50 ms': Math.round(medians.verification),
      flood: Object.entries(answers)
        .sort()
        .map(([answer, count]) => `${answer}: ${count}`)
        .join('; '),
    };
    return { name, violations, facts };
  } finally {
    grpc.close();
    await system.dispose();
  }
}

/** What came of an honest client: how long each of its calls took, in milliseconds, and which were not answered well. */
interface Life {
  readonly signUp: number;
  readonly verify: number;
  readonly refused: Violation[];
}

/** Somebody signs up and verifies the address, over one transport or the other. */
async function live(system: System, grpc: Client, person: number): Promise<Life> {
  const username = `honest_${person}`;
  const email = `${username}@example.com`;
  const client = `192.0.2.${person + 1}`;
  const refused: Violation[] = [];
  const call = async (what: 'users' | 'verify_email', request: Record<string, string>): Promise<number> => {
    const startedAt = performance.now();
    const answer = await (person % 2 === 0 ? callHttp(system, what, request, client) : callGrpc(grpc, what, request, client));
    if (answer !== 'ok') refused.push({ kind: 'refused', about: email, detail: `${what}: ${answer}` });
    return performance.now() - startedAt;
  };
  system.history.add({ kind: 'invoked', id: email });
  const signUp = await call('users', { username, fullName: 'An Honest Person', email, password: 'a long enough password' });
  if (refused.length > 0) return { signUp, verify: Number.POSITIVE_INFINITY, refused };
  system.history.add({ kind: 'acknowledged', id: email });
  const deadline = Date.now() + MAIL_PATIENCE;
  let link: string | undefined;
  while (link === undefined && Date.now() < deadline) {
    await sleep(20);
    link = system.history.of('mail').find(({ to }) => to === email)?.link;
  }
  const token = link && new URL(link).searchParams.get('token');
  if (!token) return { signUp, verify: Number.POSITIVE_INFINITY, refused: [{ kind: 'missed', about: email, detail: 'no mail came' }] };
  return { signUp, verify: await call('verify_email', { token }), refused };
}

async function callHttp(system: System, what: string, request: object, client: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${system.httpPort}/v1/${what}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': client },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(40_000),
  });
  const text = await response.text();
  return response.ok ? 'ok' : `${response.status} ${text}`;
}

function callGrpc(grpc: Client, what: 'users' | 'verify_email', request: Record<string, string>, client: string): Promise<string> {
  const [name, bytes] =
    what === 'users'
      ? ['CreateUser', toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, request))]
      : ['VerifyEmail', toBinary(VerifyEmailRequestSchema, create(VerifyEmailRequestSchema, request))];
  const metadata = new Metadata();
  metadata.set('x-forwarded-for', client);
  const asIs = (message: Buffer) => message;
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 40_000 };
    grpc.makeUnaryRequest(`/account.v1.UserService/${name}`, asIs, asIs, Buffer.from(bytes), metadata, options, (error) =>
      resolve(error ? `${error.code} ${error.details}` : 'ok'),
    );
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.POSITIVE_INFINITY;
}
