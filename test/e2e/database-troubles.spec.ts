import { randomBytes } from 'node:crypto';
import { Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { service as healthService } from 'grpc-health-check';
import { Config } from '@app/config';
import { UserService } from '@app/contract';
import { migrate } from '@app/database';
import type { RpcApp } from '@app/rpc';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApi } from '../../apps/api/src/api.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { type Answer, Code, GrpcCaller, HttpCaller } from '../support/callers.js';
import { asSuperuser, createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { migrations } from '../support/migrations.js';

const { createUser } = UserService.method;

/** The api in this process, before a database of its own. */
class Api {
  private constructor(
    private readonly app: RpcApp,
    readonly http: HttpCaller,
    readonly grpc: GrpcCaller,
    private readonly grpcAddress: string,
  ) {}

  static async start(databaseUrl: string): Promise<Api> {
    const [httpPort, grpcPort] = [await freePort(), await freePort()];
    const config = Config.parse({
      DATABASE_URL: databaseUrl,
      DATABASE_POOL_SIZE: '3',
      HTTP_PORT: String(httpPort),
      GRPC_PORT: String(grpcPort),
      LOG_LEVEL: 'silent',
    });
    const app = await createApi(config, false);
    await app.listen();
    const grpcAddress = `127.0.0.1:${grpcPort}`;
    return new Api(app, new HttpCaller(`http://127.0.0.1:${httpPort}`), new GrpcCaller(grpcAddress), grpcAddress);
  }

  /** Signs somebody up on both transports, several at once, so that more than one connection is used. */
  signUps(): Promise<Answer<typeof createUser.output>[]> {
    return Promise.all([this.http, this.grpc, this.http, this.grpc].map((caller) => caller.call(createUser, somebody())));
  }

  async readiness(): Promise<{ status: number; reason?: string; grpc: string }> {
    const response = await fetch(`${this.http.origin}/readyz`);
    const { reason } = (await response.json()) as { reason?: string };
    return { status: response.status, ...(reason !== undefined && { reason }), grpc: await this.grpcHealth() };
  }

  private grpcHealth(): Promise<string> {
    const { grpc } = loadPackageDefinition({ 'grpc.health.v1.Health': healthService }) as unknown as {
      grpc: { health: { v1: { Health: ServiceClientConstructor } } };
    };
    const client = new grpc.health.v1.Health(this.grpcAddress, credentials.createInsecure()) as unknown as Client &
      Record<'check', (request: object, done: (error: Error | null, answer: { status: string }) => void) => void>;
    return new Promise<string>((resolve, reject) => {
      client.check({ service: '' }, (error, answer) => (error ? reject(error) : resolve(answer.status)));
    }).finally(() => client.close());
  }

  async stop(): Promise<void> {
    this.grpc.close();
    await this.app.nest.close();
  }
}

const SERVING = { status: 200, grpc: 'SERVING' };
const codesOf = (answers: readonly { code: Code }[]) => answers.map(({ code }) => code);
const all = (code: Code) => Array<Code>(4).fill(code);

describe('a database that cannot serve', () => {
  const role = `troubled_${randomBytes(6).toString('hex')}`;
  let database: TestDatabase;
  let api: Api;
  let name: string;

  /** Ends the connections of the api, which are what a role of its own is for. */
  const disconnect = () => database.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`);

  beforeAll(async () => {
    database = await createDatabase();
    const url = new URL(database.url);
    name = url.pathname.slice(1);
    // Its connections may be ended by who is its member.
    await asSuperuser(database.url, `CREATE ROLE ${role} LOGIN PASSWORD 'troubled' ROLE waybill`);
    await database.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`);
    [url.username, url.password] = [role, 'troubled'];
    api = await Api.start(url.href);
  });
  afterAll(async () => {
    await api.stop();
    await asSuperuser(database.url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
    await database.drop();
  });

  const NOT_READY = { status: 503, reason: 'the database does not answer, or cannot be written', grpc: 'NOT_SERVING' };

  it.each([
    [
      'can only be read',
      `ALTER DATABASE "%" SET default_transaction_read_only = on`,
      `ALTER DATABASE "%" RESET default_transaction_read_only`,
    ],
    ['has no connections left', `ALTER ROLE ${role} CONNECTION LIMIT 0`, `ALTER ROLE ${role} CONNECTION LIMIT -1`],
  ])('%s: calls are UNAVAILABLE, the api is not ready, and serves by itself when that is over', async (_, begin, end) => {
    expect(codesOf(await api.signUps())).toEqual(all(Code.OK));
    // By another session's setting, which does not make itself read-only.
    await asSuperuser(database.url, begin.replace('%', name));
    await disconnect();
    await eventually(async () => (await api.readiness()).status === 503);
    // Again and again: an answer does not depend on which connection it was given.
    for (let turn = 0; turn < 3; turn += 1) expect(codesOf(await api.signUps())).toEqual(all(Code.UNAVAILABLE));
    expect(await api.readiness()).toEqual(NOT_READY);

    await asSuperuser(database.url, end.replace('%', name));
    await eventually(async () => (await api.readiness()).status === 200);
    expect(await api.readiness()).toEqual(SERVING);
    for (let turn = 0; turn < 3; turn += 1) expect(codesOf(await api.signUps())).toEqual(all(Code.OK));
  });

  it('a statement that an operator cancels is UNAVAILABLE, and the next one is not', async () => {
    const locker = new pg.Client({ connectionString: database.url });
    await locker.connect();
    await locker.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE');
    const call = api.http.call(createUser, somebody());
    await eventually(async () => {
      const cancelled = await database.query(
        `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '${role}' AND wait_event_type = 'Lock'`,
      );
      return cancelled.length > 0;
    });
    expect((await call).code).toBe(Code.UNAVAILABLE);
    await locker.end();
    expect(codesOf(await api.signUps())).toEqual(all(Code.OK));
  });
});

describe('a database that is not migrated', () => {
  let database: TestDatabase;
  let api: Api;
  beforeAll(async () => {
    database = await createDatabase({ empty: true });
    api = await Api.start(database.url);
  });
  afterAll(async () => {
    await api.stop();
    await database.drop();
  });

  const NOT_READY = { status: 503, reason: 'migrations are pending: run `make migrate`', grpc: 'NOT_SERVING' };

  it('calls are UNAVAILABLE and the api is not ready, until it is migrated', async () => {
    expect(await api.readiness()).toEqual(NOT_READY);
    expect(codesOf(await api.signUps())).toEqual(all(Code.UNAVAILABLE));
    // A person is told on a page.
    const page = await fetch(`${api.http.origin}/verify-email?token=${'A'.repeat(43)}`);
    expect([page.status, page.headers.get('content-type')]).toEqual([503, expect.stringContaining('text/html')]);
    await migrate(Config.parse({ DATABASE_URL: database.url }), migrations);
    expect(await api.readiness()).toEqual(SERVING);
    expect(codesOf(await api.signUps())).toEqual(all(Code.OK));
  });

  it('nor is it ready before one of an older release, and it is before one of a newer', async () => {
    const [newest] = await database.query<{ name: string }>(
      'DELETE FROM migration_history WHERE id = (SELECT max(id) FROM migration_history) RETURNING name',
    );
    expect(await api.readiness()).toEqual(NOT_READY);
    await database.query(`INSERT INTO migration_history (timestamp, name) VALUES (1, $1), (2, 'OfANewerRelease2')`, [newest!.name]);
    expect(await api.readiness()).toEqual(SERVING);
  });

  it('a table that is missing for any other reason is our fault', async () => {
    await database.query('ALTER TABLE users RENAME TO somewhere_else');
    expect((await api.http.call(createUser, somebody())).code).toBe(Code.INTERNAL);
    await database.query('ALTER TABLE somewhere_else RENAME TO users');
    expect((await api.http.call(createUser, somebody())).code).toBe(Code.OK);
  });

  it('calls alone find out that it is migrated, or not any more, where nobody asks for the api’s health', async () => {
    const code = async () => (await api.http.call(createUser, somebody())).code;
    await database.query('ALTER TABLE users RENAME TO somewhere_else');
    await database.query('ALTER TABLE migration_history RENAME TO no_history');
    await eventually(async () => (await code()) === Code.UNAVAILABLE);
    await database.query('ALTER TABLE no_history RENAME TO migration_history');
    await eventually(async () => (await code()) === Code.INTERNAL);
    await database.query('ALTER TABLE somewhere_else RENAME TO users');
    expect(await code()).toBe(Code.OK);
  });
});
