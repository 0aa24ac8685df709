import { randomBytes, randomUUID } from 'node:crypto';
import pLimit from 'p-limit';
import { inject } from 'vitest';
import { AppProcess, type LogLine } from './app-process.js';
import { type Caller, GrpcCaller, HttpCaller } from './callers.js';
import { createDatabase, type TestDatabase } from './database.js';
import type { Dispatcher } from './engine.js';
import { eventually } from './eventually.js';
import { MailServer } from './mail-server.js';
import { freePort } from '../../scripts/stack/ports.ts';

/** How to set up a {@link Waybill}. */
export interface WaybillOptions {
  /** Wins over everything that is set up by default. */
  readonly environment?: Readonly<Record<string, string>>;
  /** In place of one of its own on the server that all tests share. */
  readonly database?: TestDatabase;
}

/** A row of the ledger, as far as the tests look at it. */
export interface LedgerRow {
  readonly id: string;
  readonly type: string;
  readonly state: string;
  readonly failures: number;
  readonly crashes: number;
  readonly reason: string | null;
  readonly error: string | null;
  readonly payload: { readonly userId?: string };
}

/** How long an app may take to start: several of them do at once, and load all of Nest. Milliseconds. */
const START = 60_000;

/** The whole system, deployed for one test file: the real apps as processes, their database, and a mail server. */
export class Waybill {
  /** Every process that was started, also those that have ended. */
  readonly processes: AppProcess[] = [];
  readonly http: HttpCaller;
  readonly grpc: GrpcCaller;
  /** A command is a process that loads all of Nest: more of them at once than there are cores only wait for each other. */
  private readonly commands = pLimit(2);

  private constructor(
    readonly database: TestDatabase,
    readonly mail: MailServer,
    readonly environment: Readonly<Record<string, string>>,
  ) {
    this.http = new HttpCaller(`http://127.0.0.1:${environment['HTTP_PORT']}`);
    this.grpc = new GrpcCaller(`127.0.0.1:${environment['GRPC_PORT']}`);
  }

  /** Sets everything up but the apps. */
  static async create(dispatcher: Dispatcher, options: WaybillOptions = {}): Promise<Waybill> {
    const database = options.database ?? (await createDatabase());
    const mail = await MailServer.start();
    const httpPort = await freePort();
    return new Waybill(database, mail, {
      // As in real use: what production demands is given, and nothing that only development has helps.
      NODE_ENV: 'production',
      DATABASE_URL: database.url,
      REDIS_ADDRESS: dispatcher === 'redis' ? inject('redisAddress') : '',
      REDIS_PREFIX: `e2e-${randomUUID()}`,
      HTTP_PORT: String(httpPort),
      GRPC_PORT: String(await freePort()),
      SMTP_URL: mail.url,
      SMTP_TLS: 'off',
      MAIL_FROM: 'Waybill <no-reply@waybill.test>',
      // Not the address that the api listens on: a link must come from this and from nothing else.
      PUBLIC_URL: `https://waybill.test:${httpPort}/`,
      SECRET_KEY: randomBytes(32).toString('base64'),
      VERIFY_EMAIL_DELAY: '0s',
      // All people of the tests come from one address.
      SIGN_UP_BURST: '1000000',
      LOG_IN_BURST: '1000000',
      LOG_LEVEL: 'debug',
      ...options.environment,
    });
  }

  /** With both apps running. */
  static async start(dispatcher: Dispatcher, options: WaybillOptions = {}): Promise<Waybill> {
    const waybill = await Waybill.create(dispatcher, options);
    await Promise.all([waybill.startApi(), waybill.startWorker()]);
    return waybill;
  }

  /** Both transports. */
  get callers(): readonly [Caller, Caller] {
    return [this.http, this.grpc];
  }

  /** The api that was started last. */
  get api(): AppProcess {
    return this.newest('api');
  }

  /** The worker that was started last. */
  get worker(): AppProcess {
    return this.newest('worker');
  }

  /** Every line that any of the processes has logged. */
  get lines(): LogLine[] {
    return this.processes.flatMap(({ lines }) => lines);
  }

  /** Starts a program, and does not wait for it. */
  run(program: AppProcess['program'], environment: Readonly<Record<string, string>> = {}, args: readonly string[] = []): AppProcess {
    const started = new AppProcess(program, { ...this.environment, ...environment }, args);
    this.processes.push(started);
    return started;
  }

  /** Resolves when it serves on both transports. */
  async startApi(environment: Readonly<Record<string, string>> = {}): Promise<AppProcess> {
    const api = this.run('api', environment);
    await this.serving(api);
    return api;
  }

  /** Resolves when the api serves on both transports. */
  async serving(api: AppProcess): Promise<void> {
    await eventually(async () => {
      if (!api.isRunning) throw new Error(`the api has ended:\n${api.output}`);
      return (await this.fetch('/readyz')).ok;
    }, START);
    await this.grpc.ready(10_000);
  }

  /** Resolves when it takes tasks. */
  async startWorker(environment: Readonly<Record<string, string>> = {}): Promise<AppProcess> {
    const worker = this.run('worker', environment);
    await worker.line(({ msg }) => msg === 'task processor started', START);
    return worker;
  }

  /** Runs the operators' command to its end. */
  tasks(...args: string[]): Promise<{ code: number | NodeJS.Signals; output: string }> {
    return this.command('tasks', ...args);
  }

  /** Runs a command to its end. */
  command(program: 'tasks' | 'user', ...args: string[]): Promise<{ code: number | NodeJS.Signals; output: string }> {
    return this.commands(async () => {
      const command = this.run(program, {}, args);
      const code = await command.end(60_000);
      return { code, output: command.output };
    });
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.http.origin}${path}`, init);
  }

  /** What a link of a mail leads to: the path on this machine's api of an address that only the world outside could resolve. */
  pathOf(link: string): string {
    const origin = this.environment['PUBLIC_URL']!.replace(/\/$/, '');
    if (!link.startsWith(`${origin}/`)) throw new Error(`${link} does not start with PUBLIC_URL`);
    return link.slice(origin.length);
  }

  /** The tasks of the ledger that mail a link, by default that of a sign-up, the oldest first. */
  ledger(type = 'account.send_verification_email'): Promise<LedgerRow[]> {
    return this.database.query('SELECT * FROM task WHERE type = $1 ORDER BY id', [type]);
  }

  /** Resolves when nothing is left to be done. */
  async idle(within = 30_000): Promise<void> {
    const left = `SELECT FROM task WHERE type LIKE 'account.send_%' AND state NOT IN ('dead', 'completed')`;
    await eventually(async () => (await this.database.query(left)).length === 0, within);
  }

  /** From now on a new task that fails is tried again after so many milliseconds: its own rule waits for a quarter of a minute and more. */
  async retryQuickly(delay = 200): Promise<void> {
    await this.database.query(`
      CREATE FUNCTION retry_quickly() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.options := NEW.options || '{"backoff": {"type": "fixed", "delay": ${delay}}}';
        RETURN NEW;
      END $$`);
    await this.database.query('CREATE TRIGGER retry_quickly BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION retry_quickly()');
  }

  /** Ends whatever still runs, and removes what it has left. */
  async close(): Promise<void> {
    for (const running of this.processes.filter(({ isRunning }) => isRunning)) running.crash();
    await Promise.all(this.processes.map(({ exited }) => exited));
    this.grpc.close();
    await this.mail.close();
    await this.database.drop();
  }

  private newest(program: AppProcess['program']): AppProcess {
    const found = this.processes.findLast((candidate) => candidate.program === program);
    if (!found) throw new Error(`no ${program} was started`);
    return found;
  }
}
