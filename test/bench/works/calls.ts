import { hash } from '@node-rs/argon2';
import { freePort } from '../../../scripts/stack/ports.ts';
import { App, cpuSecondsOf } from '../lib/app.ts';
import { Contestant } from '../lib/contestant.ts';
import { productEnvironment } from '../lib/environment.ts';
import { alternate, type Figure, figureOf } from '../lib/figure.ts';
import { PASSWORD } from '../lib/password.ts';
import { round } from '../lib/report.ts';
import { median } from '../lib/statistics.ts';
import type { Bench, Work } from '../lib/work.ts';

type Transport = 'http' | 'grpc';

/** Hashes of a turn: five to ten seconds. */
const HASHES = 960;

/** Log-ins over each transport, until V8 has compiled what they run: so many are nothing to an api that runs for days. */
const WARM_UP = 15_000;
/** Costs next to nothing: the warm-up is for all that is not the hash. */
const CHEAP = { memoryCost: 8, timeCost: 1, parallelism: 1 };

interface Answered {
  seconds: number;
  codes: Record<string, number>;
}

const TRANSPORTS: readonly Transport[] = ['grpc', 'http'];

/** The real api, as its own process. */
async function startApi({ stack }: Bench) {
  const database = await stack.createDatabase();
  const ports = { http: await freePort(), grpc: await freePort() };
  const api = new App('dist/api.js', {
    ...productEnvironment,
    DATABASE_URL: database.url,
    HTTP_PORT: String(ports.http),
    GRPC_PORT: String(ports.grpc),
  });
  await api.listensOn(ports.http);
  await api.listensOn(ports.grpc);
  return { api, ports, database };
}

/** Sign-ups, beside the hashing that each of them cannot do without. */
export const signUps: Work = {
  name: 'sign-ups',
  async run(bench, resources): Promise<Figure[]> {
    const { api, ports, database } = await startApi(bench);
    resources.use(api);
    await using caller = await Contestant.start('caller');
    await using argon2 = await Contestant.start('argon2');
    const total = bench.count(HASHES);
    let runs = 0;
    const signUp = async (transport: Transport) => {
      const run = `run${runs++}`;
      const load = { call: 'signUp', transport, port: ports[transport], count: total, callers: 16, run };
      const { seconds, codes } = await caller.ask<Answered>('load', load);
      const [made] = await database.query<{ users: number; tasks: number }>(
        `SELECT count(DISTINCT users.id)::int AS users, count(DISTINCT task.id)::int AS tasks
         FROM users JOIN task ON task.payload->>'userId' = users.id::text WHERE username LIKE $1`,
        [`${run}\\_%`],
      );
      const well = codes[transport === 'grpc' ? '0' : '200'];
      if (well !== total || made?.users !== total || made.tasks !== total) {
        throw new Error(`sign-ups: ${total} were sent: ${JSON.stringify({ codes, ...made })}`);
      }
      return total / seconds;
    };
    const figures: Figure[] = [];
    for (const transport of TRANSPORTS) {
      const measured = await alternate(
        bench.pairs,
        () => signUp(transport),
        async () => total / (await argon2.ask<number>('hash', { count: total })),
      );
      figures.push(
        figureOf(
          {
            work: 'sign-ups',
            name: `sign-ups over ${transport}`,
            anchor: 'argon2id alone, on all cores',
            unit: 'per s',
            aim: { kind: 'at least', bound: 0.95 },
          },
          measured,
        ),
      );
    }
    return figures;
  },
};

/** Log-ins to an api that is warm, beside the hashing that each of them cannot do without. */
export const logIns: Work = {
  name: 'log-ins',
  async run(bench, resources): Promise<Figure[]> {
    const { api, ports, database } = await startApi(bench);
    resources.use(api);
    await using caller = await Contestant.start('caller');
    await using argon2 = await Contestant.start('argon2');
    const total = bench.count(HASHES);
    const load = { port: ports.grpc, transport: 'grpc', count: total, callers: 16, run: 'person' };
    await caller.ask<Answered>('load', { ...load, call: 'signUp' });
    const [first] = await database.query<{ dear: string }>('SELECT password_hash AS dear FROM users LIMIT 1');
    const give = (passwordHash: string) => database.query('UPDATE users SET is_email_verified = true, password_hash = $1', [passwordHash]);
    const logIn = async (transport: Transport) => {
      await database.query('TRUNCATE session, account_event');
      const { seconds, codes } = await caller.ask<Answered>('load', { ...load, call: 'logIn', transport, port: ports[transport] });
      const [begun] = await database.query<{ sessions: number }>('SELECT count(DISTINCT user_id)::int AS sessions FROM session');
      if (codes[transport === 'grpc' ? '0' : '200'] !== total || begun?.sessions !== total) {
        throw new Error(`log-ins: ${total} were sent: ${JSON.stringify({ codes, ...begun })}`);
      }
      return total / seconds;
    };
    const figures: Figure[] = [];
    await give(await hash(PASSWORD, CHEAP));
    for (let made = 0; made < bench.count(WARM_UP); made += total) {
      for (const transport of TRANSPORTS) await logIn(transport);
    }
    await give(first!.dear);
    await database.query('VACUUM ANALYZE');
    for (const transport of TRANSPORTS) {
      const measured = await alternate(
        bench.pairs,
        () => logIn(transport),
        async () => total / (await argon2.ask<number>('hash', { count: total })),
      );
      figures.push(
        figureOf(
          {
            work: 'log-ins',
            name: `log-ins over ${transport}`,
            anchor: 'argon2id alone, on all cores',
            unit: 'per s',
            aim: { kind: 'at least', bound: 0.8 },
          },
          measured,
        ),
      );
    }
    return figures;
  },
};

/** A call that does no hashing, beside a bare handler that does the same query. */
export const calls: Work = {
  name: 'calls',
  async run(bench, resources): Promise<Figure[]> {
    const { api, ports, database } = await startApi(bench);
    resources.use(api);
    await using bare = await Contestant.start('bare-servers', { DATABASE_URL: database.url });
    await using caller = await Contestant.start('caller');
    const barePorts = await bare.ask<typeof ports>('ports');
    const figures: Figure[] = [];
    for (const transport of TRANSPORTS) {
      const total = bench.count(transport === 'grpc' ? 8_000 : 12_000);
      const measure = async (port: number, cpuSeconds: () => number) => {
        const before = cpuSeconds();
        const load = { call: 'verifyEmail', transport, port, count: total, callers: 32, run: 'run' };
        const { seconds, codes } = await caller.ask<Answered>('load', load);
        if (codes[transport === 'grpc' ? '9' : '400'] !== total) throw new Error(`calls: ${total} were sent: ${JSON.stringify(codes)}`);
        return { rate: total / seconds, cpu: ((cpuSeconds() - before) / total) * 1e6 };
      };
      const measured = await alternate(
        bench.pairs,
        () => measure(ports[transport], () => api.cpuSeconds),
        () => measure(barePorts[transport], () => cpuSecondsOf(bare.pid)),
      );
      const [ours, theirs] = [median(measured.map(([ours]) => ours.cpu)), median(measured.map(([, anchor]) => anchor.cpu))];
      figures.push(
        figureOf(
          {
            work: 'calls',
            name: `VerifyEmail that fails, over ${transport}`,
            anchor: transport === 'grpc' ? 'bare grpc-js, same query' : 'bare Fastify, same query',
            unit: 'calls/s',
            aim: { kind: 'at least', bound: 0.7 },
            note: `processor time of the server a call: ${round(ours)} µs, bare ${round(theirs)} µs`,
          },
          measured.map(([ours, anchor]) => [ours.rate, anchor.rate]),
        ),
      );
    }
    return figures;
  },
};
