import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from '../../scripts/stack/ports.ts';
import { AppProcess, ROOT } from './app-process.ts';
import { type Allowances, judge, RECOVERY_BOUND, type Violation } from './checker.ts';
import { type FinalState, History } from './history.ts';
import { MailServer } from './mail-server.ts';
import type { PostgresServer, RedisServer } from './servers.ts';

/** What is put to work: the real api and worker with sign-ups, or the engine with tasks that have effects on the database. */
export type Work = 'sign-ups' | 'orders';
/** What the task of an order does; see the effects app. */
export type OrderMode = 'transaction' | 'keyed' | 'long' | 'blocking' | 'poison';
export type Dispatcher = 'redis' | 'postgres';

export interface SystemOptions {
  readonly name: string;
  readonly work: Work;
  readonly workers: number;
  readonly dispatcher: Dispatcher;
  readonly postgres: PostgresServer;
  readonly redis: RedisServer | undefined;
  /** Where the apps find Redis and Postgres, when a proxy stands between. */
  readonly redisAddress?: string;
  readonly workersDatabasePort?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Other entry points for the same roles: the broken variants. */
  readonly entries?: { readonly front?: string; readonly worker?: string };
}

export const LOG_DIR = join(ROOT, '.data', 'faults');
/** Where the programs of the tests' own are, bundled. */
export const PROGRAMS = join(LOG_DIR, 'programs');

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS fault_order (id uuid PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS fault_effect (order_id uuid, task_id uuid, run text, mode text, at timestamptz DEFAULT clock_timestamp());
  CREATE UNIQUE INDEX IF NOT EXISTS fault_effect_key ON fault_effect (task_id) WHERE mode = 'keyed';
`;

/** The longest that a run may take to come to rest, whatever its tasks' own delays. */
const REST_LIMIT = 300_000;
const QUEUES = ['critical', 'default'];

/** How a run came to rest. */
export interface Rest {
  /** Milliseconds from the last fault's end. */
  readonly recovery: number;
  readonly violations: Violation[];
}

/** One system under test: its own database, queues, mail server and processes, and the history of what happened to it. */
export class System implements AsyncDisposable {
  readonly history: History;
  readonly options: SystemOptions;
  readonly mail: MailServer;
  readonly databaseUrl: string;
  readonly prefix = `faults-${randomUUID()}`;
  /** The process that takes requests: the api, or the distributor of orders. */
  readonly front: AppProcess;
  readonly workers: AppProcess[];
  readonly httpPort: number;
  readonly grpcPort: number;
  private readonly pool: pg.Pool;
  private readonly answers = new Map<string, (answer: { committed: boolean; why?: string }) => void>();
  private invoked = 0;
  private disposed = false;

  private constructor(options: SystemOptions, parts: Pick<System, 'history' | 'mail' | 'databaseUrl' | 'httpPort' | 'grpcPort'>) {
    this.options = options;
    this.history = parts.history;
    this.mail = parts.mail;
    this.databaseUrl = parts.databaseUrl;
    this.httpPort = parts.httpPort;
    this.grpcPort = parts.grpcPort;
    this.pool = new pg.Pool({
      connectionString: parts.databaseUrl,
      max: 3,
      application_name: 'fault-test',
      // Floods leave little of the machine to whoever judges them.
      connectionTimeoutMillis: 10_000,
    });
    this.pool.on('error', () => undefined);
    const orders = options.work === 'orders';
    const effects = join(PROGRAMS, 'effects.js');
    this.front = this.process(
      'front',
      options.entries?.front ?? (orders ? effects : 'dist/api.js'),
      orders ? /distributor ready/ : /Nest microservice successfully started/,
      { ROLE: 'distributor' },
    );
    this.workers = Array.from({ length: options.workers }, (_, index) =>
      this.process(
        `worker-${index + 1}`,
        options.entries?.worker ?? (orders ? effects : 'dist/worker.js'),
        orders ? /worker ready/ : /task processor started/,
        { ROLE: 'worker' },
      ),
    );
    this.front.listen((message) => {
      const { ids, ...answer } = message as { ids: string[]; committed: boolean; why?: string };
      this.answers.get(ids[0]!)?.(answer);
    });
  }

  static async open(options: SystemOptions): Promise<System> {
    const databaseUrl = await options.postgres.createDatabase();
    const history = new History();
    const mail = await MailServer.start(history);
    const system = new System(options, { history, mail, databaseUrl, httpPort: await freePort(), grpcPort: await freePort() });
    await system.query(SCHEMA);
    return system;
  }

  /** Where its processes' output goes, below {@link LOG_DIR}. */
  get folder(): string {
    return this.options.name.replaceAll(/[^\w.-]+/g, '_');
  }

  get processes(): AppProcess[] {
    return [this.front, ...this.workers];
  }

  /** Starts every process; `faults` are for one of them, by its name. */
  async start(faults: Readonly<Record<string, string>> = {}): Promise<void> {
    await Promise.all(this.processes.map((app) => app.start(faults[app.name] === undefined ? {} : { FAULTS: faults[app.name]! })));
  }

  /** Asks for one piece of work, and records what comes of it. */
  async invoke(options: { rollBack?: boolean } = {}): Promise<void> {
    await (this.options.work === 'orders' ? this.placeOrder(options.rollBack ?? false) : this.signUp());
  }

  /** Asks for work, a few at a time, until `enough` says so. */
  async load(enough: (count: number) => boolean, concurrency = 2, pause: (count: number) => number = () => 0): Promise<void> {
    let count = 0;
    const client = async () => {
      while (!enough(count)) {
        count++;
        await this.invoke({ rollBack: count % 7 === 0 });
        if (!enough(count)) await sleep(pause(count));
      }
    };
    await Promise.all(Array.from({ length: concurrency }, client));
  }

  /** Makes orders and their tasks in one transaction. @returns how many were committed. */
  async placeOrders(ids: string[], mode: OrderMode, rollBack: boolean): Promise<number> {
    for (const id of ids) this.history.add({ kind: 'invoked', id });
    const answer = await new Promise<{ committed: boolean; why?: string }>((resolve) => {
      const patience = setTimeout(() => resolve({ committed: false, why: 'no answer' }), 20_000);
      this.answers.set(ids[0]!, (given) => {
        clearTimeout(patience);
        resolve(given);
      });
      this.front.send({ ids, mode, rollBack });
    });
    this.answers.delete(ids[0]!);
    for (const id of ids) {
      if (answer.committed) this.history.add({ kind: 'acknowledged', id });
      else this.history.add({ kind: 'refused', id, why: answer.why ?? '' });
    }
    return answer.committed ? ids.length : 0;
  }

  /** Marks the beginning of a fault, and returns what marks its end. */
  fault(what: string): () => void {
    this.history.add({ kind: 'fault', what, phase: 'begin' });
    return () => this.history.add({ kind: 'fault', what, phase: 'end' });
  }

  async query<Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.pool.query<Row>(sql, values)).rows;
  }

  /** What the database holds at this moment: one snapshot, so that a task is never between its row and its effect. */
  async state(): Promise<FinalState> {
    const client = await this.pool.connect();
    try {
      const read = async <Row extends pg.QueryResultRow>(sql: string) => (await client.query<Row>(sql)).rows;
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      const users = await read<FinalState['users'][number]>('SELECT id, email FROM users');
      const orders = await read<{ id: string }>('SELECT id FROM fault_order');
      const effects = await read<FinalState['effects'][number]>(
        `SELECT order_id AS "order", task_id AS task, run, mode, EXTRACT(epoch FROM at)::float8 * 1000 AS at FROM fault_effect`,
      );
      const ledger = await read<FinalState['ledger'][number]>(
        `SELECT id, type, state, reason, COALESCE(payload->>'userId', payload->>'order') AS subject,
                EXTRACT(epoch FROM now() - run_at)::float8 * 1000 AS overdue FROM task WHERE type NOT LIKE '%purge%'`,
      );
      await client.query('COMMIT');
      return { users, orders: orders.map(({ id }) => id), effects, ledger };
    } finally {
      // Whatever went wrong, the next reading begins anew.
      client.release(true);
    }
  }

  /** Jobs that the dispatcher is to run by now. One that waits for a retry may be moot: the ledger is what counts. */
  async dueJobs(): Promise<number> {
    const { dispatcher, redis } = this.options;
    // The ledger itself.
    if (dispatcher === 'postgres') return 0;
    let sum = 0;
    for (const queue of QUEUES) {
      const key = (part: string) => `{${this.prefix}-${queue}}:${queue}:${part}`;
      const counts = await Promise.all([
        ...['wait', 'active', 'paused'].map((part) => redis!.admin.llen(key(part))),
        redis!.admin.zcard(key('prioritized')),
        // BullMQ's scores are milliseconds times 4096, and a running number.
        redis!.admin.zcount(key('delayed'), '-inf', Date.now() * 4_096),
      ]);
      sum += counts.reduce((a, b) => a + b, 0);
    }
    return sum;
  }

  /** Waits until everything is done or has been given up, then judges. */
  async rest(allowances: Partial<Allowances> = {}): Promise<Rest> {
    const recovery = allowances.recovery ?? RECOVERY_BOUND;
    const startedAt = Date.now();
    // Nothing can be done before it was asked for.
    const lastInvoked = this.history.of('invoked').at(-1)?.at ?? startedAt;
    let leftover = '';
    let lastDelayed = 0;
    for (;;) {
      try {
        leftover = await this.leftover(recovery);
        if (leftover === '') break;
      } catch {
        leftover = 'the database does not answer';
      }
      const sinceFault = Date.now() - Math.max(this.history.lastFaultEnd(), lastInvoked);
      if (leftover.startsWith('overdue:') && sinceFault > recovery) break;
      // A task that is not due yet may take its time; what has to follow it may not.
      if (leftover.startsWith('later:')) lastDelayed = Date.now();
      if (sinceFault > recovery && Date.now() - lastDelayed > recovery) break;
      if (Date.now() - startedAt > REST_LIMIT) break;
      await sleep(250);
    }
    const took = Date.now() - (this.history.lastFaultEnd() || startedAt);
    // A duplicate or a phantom would come now.
    await sleep(1_500);
    const violations = judge(this.history, await this.state(), { recovery, ...allowances });
    if (leftover !== '' && violations.length === 0) violations.push({ kind: 'stuck', about: this.options.name, detail: leftover });
    return { recovery: took, violations };
  }

  /** Ends every process as a deploy would; each must end well. */
  async close(): Promise<Violation[]> {
    for (const app of this.processes) app.signal('SIGCONT');
    const violations: Violation[] = [];
    await Promise.all(
      this.processes.map(async (app) => {
        const running = app.isRunning;
        if (!(await app.stop()))
          violations.push({ kind: 'crash', about: app.name, detail: `did not end well on SIGTERM: ${await app.ended}` });
        if (!running && app.pid !== 0)
          violations.push({ kind: 'crash', about: app.name, detail: `was not running at the end: ${await app.ended}` });
        app.close();
      }),
    );
    await this.dispose();
    return violations;
  }

  /** Ends what is left, however. */
  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    for (const app of this.processes) app.signal('SIGKILL');
    await Promise.all(this.processes.map((app) => app.ended));
    await this.mail.stop();
    await this.pool.end();
    await this.options.postgres.dropDatabase(this.databaseUrl).catch(() => undefined);
    if (this.options.dispatcher === 'redis') {
      const keys = await this.options.redis!.admin.keys(`{${this.prefix}-*`).catch(() => []);
      if (keys.length > 0) await this.options.redis!.admin.del(...keys).catch(() => 0);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** What is not done yet; the empty string when nothing is left. */
  private async leftover(recovery: number): Promise<string> {
    const state = await this.state();
    const live = state.ledger.filter((row) => row.state === 'pending' || row.state === 'dispatched');
    const overdue = live.filter((row) => row.overdue > recovery);
    if (overdue.length > 0) return `overdue: ${overdue.length} tasks`;
    if (live.length > 0) return `later: ${live.length} tasks`;
    const mailed = new Set(this.history.of('mail').map((mail) => mail.to));
    const withEffect = new Set(state.effects.map((effect) => effect.order));
    const dead = new Set(state.ledger.map((row) => row.subject));
    const missing =
      state.users.filter((user) => !mailed.has(user.email) && !dead.has(user.id)).length +
      state.orders.filter((order) => !withEffect.has(order) && !dead.has(order)).length;
    if (missing > 0) return `${missing} without their mail or effect`;
    const jobs = await this.dueJobs();
    return jobs > 0 ? `the dispatcher still holds ${jobs} jobs` : '';
  }

  private process(name: string, entry: string, ready: RegExp, environment: Record<string, string>): AppProcess {
    const { options } = this;
    const database = new URL(this.databaseUrl);
    if (name !== 'front' && options.workersDatabasePort !== undefined) database.port = String(options.workersDatabasePort);
    return new AppProcess({
      name,
      entry,
      ready,
      history: this.history,
      logFile: join(LOG_DIR, this.folder, `${name}.log`),
      environment: {
        NODE_ENV: 'test',
        DATABASE_URL: database.href,
        REDIS_ADDRESS: options.dispatcher === 'redis' ? (options.redisAddress ?? options.redis!.address) : '',
        REDIS_PREFIX: this.prefix,
        SMTP_URL: this.mail.url,
        HTTP_PORT: String(this.httpPort),
        GRPC_PORT: String(this.grpcPort),
        VERIFY_EMAIL_DELAY: '0ms',
        // Everybody comes from one address.
        SIGN_UP_BURST: '1000000',
        LOG_IN_BURST: '1000000',
        ...environment,
        ...options.environment,
      },
    });
  }

  private async signUp(): Promise<void> {
    const username = `u${++this.invoked}_${randomUUID().slice(0, 8)}`;
    const email = `${username}@example.com`;
    this.history.add({ kind: 'invoked', id: email });
    try {
      const response = await fetch(`http://127.0.0.1:${this.httpPort}/v1/users`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ username, fullName: 'A Person', email, password: 'a long enough password' }),
        signal: AbortSignal.timeout(40_000),
      });
      await response.arrayBuffer();
      if (response.ok) this.history.add({ kind: 'acknowledged', id: email });
      else this.history.add({ kind: 'refused', id: email, why: String(response.status) });
      if (!response.ok) await sleep(50);
    } catch (error) {
      this.history.add({ kind: 'refused', id: email, why: (error as Error).message });
      await sleep(100);
    }
  }

  private async placeOrder(rollBack: boolean): Promise<void> {
    await this.placeOrders([randomUUID()], ++this.invoked % 3 === 0 ? 'keyed' : 'transaction', rollBack);
  }
}
