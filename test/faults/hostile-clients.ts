import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import type { Violation } from './checker.ts';
import { type Answer, CANARY, hostileRequest, type Target } from './hostile-requests.ts';
import type { Context, Result, Scenario } from './run.ts';
import { LOG_DIR, System } from './system.ts';

const CONCURRENCY = 12;
/** For a person who waits; longer in the short version, which shares its cores with all the other tests. Milliseconds. */
const HONEST_LATENCY = { whole: 5_000, short: 15_000 };
/** gRPC codes that say that the server did not know what to do. */
const UNEXPECTED_CODES: ReadonlySet<number> = new Set([2, 13, 15]);

/** Generated requests on both transports; whatever they are, the apps answer in their own words and go on. */
export function hostileClients(context: Context): Scenario[] {
  const name = `${context.size.hostile} requests`;
  return [{ name, run: () => runHostile(name, context) }];
}

async function runHostile(name: string, context: Context): Promise<Result> {
  const { hostile } = context.size;
  const system = await System.open({
    name: 'hostile clients',
    work: 'sign-ups',
    workers: 1,
    dispatcher: context.redis ? 'redis' : 'postgres',
    postgres: context.postgres,
    redis: context.redis,
    environment: { LOG_LEVEL: 'debug' },
  });
  const grpc = new Client(`127.0.0.1:${system.grpcPort}`, credentials.createInsecure());
  try {
    await system.start();
    const target: Target = { httpPort: system.httpPort, grpcPort: system.grpcPort, grpc };
    const random = context.random.fork('hostile');
    const violations: Violation[] = [];
    const counts = new Map<string, number>();
    let sent = 0;
    let over = false;
    const honest = beHonest(system, () => over);
    const attack = async () => {
      while (sent < hostile && system.front.isRunning) {
        sent++;
        const answer = await hostileRequest(random, target);
        const key = `${answer.transport} ${answer.status ?? 'no answer'}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
        violations.push(...judgeAnswer(answer));
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, attack));
    over = true;
    const latencies = (await honest).sort((a, b) => a - b);
    const slowest = latencies.at(-1) ?? Number.POSITIVE_INFINITY;
    if (slowest > (context.short ? HONEST_LATENCY.short : HONEST_LATENCY.whole))
      violations.push({ kind: 'hostile', about: 'an honest client', detail: `waited for ${Math.round(slowest)} ms` });
    const rest = await system.rest();
    violations.push(...rest.violations, ...(await system.close()), ...judgeLogs(system));
    const facts = {
      requests: sent,
      'honest p50 ms': Math.round(latencies[Math.floor(latencies.length / 2)] ?? 0),
      'honest p99 ms': Math.round(latencies[Math.floor(latencies.length * 0.99)] ?? 0),
      'honest max ms': Math.round(slowest),
      answers: [...counts]
        .sort()
        .map(([what, count]) => `${what}: ${count}`)
        .join('; '),
    };
    return { name, violations, facts };
  } finally {
    grpc.close();
    await system.dispose();
  }
}

/** A call that needs the database and no hashing, again and again. @returns how long each took. */
async function beHonest(system: System, isOver: () => boolean): Promise<number[]> {
  const latencies: number[] = [];
  while (!isOver()) {
    const startedAt = performance.now();
    const response = await fetch(`http://127.0.0.1:${system.httpPort}/v1/verify_email`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: 'an honest mistake' }),
      signal: AbortSignal.timeout(30_000),
    }).catch(() => undefined);
    await response?.arrayBuffer();
    latencies.push(response?.status === 400 ? performance.now() - startedAt : Number.POSITIVE_INFINITY);
    await sleep(50);
  }
  return latencies;
}

function judgeAnswer({ what, status, transport, text }: Answer): Violation[] {
  const violations: Violation[] = [];
  const isUnexpected = status !== undefined && (transport === 'http' ? status >= 500 : UNEXPECTED_CODES.has(status));
  if (isUnexpected) violations.push({ kind: 'hostile', about: what, detail: `answered with ${status}: ${text.slice(0, 200)}` });
  if (text.includes(CANARY)) violations.push({ kind: 'hostile', about: what, detail: `a secret in the answer: ${text.slice(0, 300)}` });
  return violations;
}

/** No secret in what was logged, and nothing that was not expected. */
function judgeLogs(system: System): Violation[] {
  return system.processes.flatMap((app): Violation[] => {
    const lines = readFileSync(join(LOG_DIR, system.folder, `${app.name}.log`), 'utf8').split('\n');
    const leaks = lines.filter((line) => line.includes(CANARY));
    const errors = lines.filter((line) => line.includes('"code":"INTERNAL"') || line.includes('"level":50') || line.includes('"level":60'));
    return [
      ...leaks
        .slice(0, 3)
        .map((line): Violation => ({ kind: 'hostile', about: app.name, detail: `a secret in its log: ${line.slice(0, 300)}` })),
      ...errors
        .slice(0, 3)
        .map((line): Violation => ({ kind: 'hostile', about: app.name, detail: `an error in its log: ${line.slice(0, 300)}` })),
    ];
  });
}
