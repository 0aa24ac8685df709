import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Config, PortUnavailable } from '@app/config';
import { startConsole } from '@app/console';
import { migrate } from '@app/database';
import type { TaskConsole } from '@app/tasks';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { AppProcess, WARN } from '../support/app-process.js';
import { createDatabase } from '../support/database.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { migrations } from '../support/migrations.js';

const started: AppProcess[] = [];
afterAll(() => started.forEach((app) => app.crash()));

async function refusal(program: AppProcess['program'], environment: Record<string, string>, args: readonly string[] = []) {
  const app = new AppProcess(program, environment, args);
  started.push(app);
  expect(await app.end(50_000)).toBe(1);
  return app.output.trim().split('\n');
}

/** An environment of production with nothing wrong. */
async function production() {
  return {
    NODE_ENV: 'production',
    DATABASE_URL: inject('postgresUrl'),
    SMTP_URL: 'smtp://mail.example.com',
    MAIL_FROM: 'Waybill <no-reply@example.com>',
    PUBLIC_URL: 'https://waybill.example.com',
    SECRET_KEY: randomBytes(32).toString('base64'),
    HTTP_PORT: String(await freePort()),
    GRPC_PORT: String(await freePort()),
  };
}

describe.concurrent.each(['api', 'worker', 'migrate', 'tasks'] as const)('the %s', (program) => {
  it('lists everything that is wrong with its environment, and exits with 1', async () => {
    const secret = Buffer.from('far too short').toString('base64');
    const [heading, ...problems] = await refusal(program, {
      DATABASE_URL: 'mysql://localhost/waybill',
      DATABASE_POOL_SIZE: '0',
      REDIS_ADDRESS: 'redis://',
      HTTP_PORT: '99999',
      GRPC_PORT: 'grpc',
      SMTP_URL: 'ftp://mail.example.com',
      PUBLIC_URL: 'waybill.example.com',
      VERIFY_EMAIL_DELAY: 'soon',
      QUEUE_WEIGHTS: 'critical=10,critical=5',
      WORKER_CONCURRENCY: '-1',
      LOG_LEVEL: 'chatty',
      SECRET_KEY: secret,
    });
    expect(heading).toBe('The environment is not valid:');
    expect(problems.map((line) => line.trim().split(':')[0]).sort()).toEqual([
      'DATABASE_POOL_SIZE',
      'DATABASE_URL',
      'GRPC_PORT',
      'HTTP_PORT',
      'LOG_LEVEL',
      'PUBLIC_URL',
      'QUEUE_WEIGHTS',
      'REDIS_ADDRESS',
      'SECRET_KEY',
      'SMTP_URL',
      'VERIFY_EMAIL_DELAY',
      'WORKER_CONCURRENCY',
    ]);
    expect(problems.join('\n')).not.toContain(secret);
  });
});

describe('the containers', () => {
  it('are all given the same queues: a task for one that the api does not know cannot be distributed', () => {
    const [shared, services] = readFileSync('docker-compose.yml', 'utf8').split(/^services:$/m);
    expect(shared).toContain('QUEUE_WEIGHTS: ${QUEUE_WEIGHTS:-critical=10,default=5}');
    expect(services).toContain('WORKER_CONCURRENCY:');
    expect(services).not.toContain('QUEUE_WEIGHTS:');
  });

  it('have a role in Postgres that is no superuser, a password for Redis, and no mailbox that nobody asked for', () => {
    const compose = readFileSync('docker-compose.yml', 'utf8');
    const role = /DATABASE_URL: postgres:\/\/(\w+):\$\{POSTGRES_PASSWORD:\?/.exec(compose)?.[1];
    const superuser = /POSTGRES_USER: (\w+)/.exec(compose)?.[1];
    expect([role, superuser]).toEqual(['waybill', 'postgres']);
    expect(compose).toContain('scripts/postgres-role.sql:/docker-entrypoint-initdb.d/');
    expect(readFileSync('scripts/postgres-role.sql', 'utf8')).toMatch(/^CREATE ROLE waybill LOGIN PASSWORD :'password';$/m);
    const password = /--requirepass, '([^']+)'/.exec(compose)?.[1];
    expect(compose).toContain(`REDIS_ADDRESS: redis://:${password}@redis:6379`);
    expect(compose).toContain('SMTP_URL: ${SMTP_URL:?');
    expect(compose.split(/^  mailbox:$/m)[1]).toContain('profiles: [mailbox]');
  });

  it('all see what bounds their use of the database, where it is set', () => {
    const [shared] = readFileSync('docker-compose.yml', 'utf8').split(/^services:$/m);
    for (const name of ['DATABASE_POOL_SIZE', 'DATABASE_STATEMENT_TIMEOUT']) expect(shared).toContain(`    ${name}: \${${name}:-}\n`);
  });
});

describe.concurrent('in production', () => {
  it('nothing that has only a default for developers may be missing', async () => {
    const problems = await refusal('api', { NODE_ENV: 'production' });
    for (const name of ['DATABASE_URL', 'SMTP_URL', 'MAIL_FROM', 'PUBLIC_URL', 'SECRET_KEY']) {
      expect(problems).toContain(`  ${name}: must be set in production`);
    }
  });

  it('the key that everybody knows is refused', async () => {
    const problems = await refusal('worker', { NODE_ENV: 'production', SECRET_KEY: 'd2F5YmlsbC1kZXZlbG9wbWVudC1zZWNyZXQta2V5ISE=' });
    expect(problems.join('\n')).toContain('SECRET_KEY: is the development key');
  });

  it.each(['api', 'worker'] as const)('the %s refuses what can be read or guessed by others, each in one line', async (program) => {
    const output = await refusal(program, {
      ...(await production()),
      PUBLIC_URL: 'http://waybill.example.com',
      SECRET_KEY: Buffer.from('correct horse battery staple 123').toString('base64'),
      DATABASE_URL: 'postgres://waybill:a-secret@db.example.com/waybill',
      REDIS_ADDRESS: 'redis.example.com:6379',
    });
    expect(output.map((line) => line.split(';')[0])).toEqual([
      'The environment is not valid:',
      '  SECRET_KEY: can be guessed',
      '  PUBLIC_URL: must be https: in production, because links carry a secret',
      '  DATABASE_URL: says nothing of TLS',
      '  REDIS_ADDRESS: says nothing of TLS',
    ]);
  });

  it.each([
    ['a text', Buffer.from('correct horse battery staple 123').toString('base64')],
    ['few different bytes', Buffer.alloc(32, 'Äß').toString('base64')],
    ['counting', Buffer.from(Array.from({ length: 32 }, (_, index) => 7 * index + 130)).toString('base64')],
    ['a placeholder that can be read as base64', 'replace_this_by_the_secret_key_of_your_own_'],
  ])('a SECRET_KEY that is %s is refused, and a random one is not', async (_, key) => {
    const environment = await production();
    expect(() => Config.parse({ ...environment, SECRET_KEY: key })).toThrow('SECRET_KEY: can be guessed');
    for (let turn = 0; turn < 1_000; turn++) Config.parse({ ...environment, SECRET_KEY: randomBytes(32).toString('base64') });
  });

  it.each(['', '?sslmode='])('a database elsewhere whose URL ends in "%s" says nothing of TLS', async (query) => {
    const environment = { ...(await production()), DATABASE_URL: `postgres://x:y@db.example.com/z${query}` };
    expect(() => Config.parse(environment, 'app')).toThrow('DATABASE_URL: says nothing of TLS');
  });

  it('what is said so is taken: a link to this machine, and hops without TLS', async () => {
    const said = [
      { PUBLIC_URL: 'http://localhost:8080' },
      { DATABASE_URL: 'postgres://x:y@db.example.com/z?sslmode=disable' },
      { REDIS_ADDRESS: 'redis://redis.example.com:6379' },
      { REDIS_ADDRESS: 'rediss://redis.example.com:6379' },
      { DATABASE_URL: 'postgres:///waybill?host=/run/postgresql' },
      { DATABASE_URL: 'postgres://x:y@[::1]/z' },
    ];
    for (const environment of said) expect(Config.parse({ ...(await production()), ...environment }, 'app').isProduction).toBe(true);
  });
});

describe.concurrent('where nobody says that it is production', () => {
  const elsewhere = { DATABASE_URL: 'postgres://waybill:secret@db.example.com/waybill' };

  it.each(['api', 'worker'] as const)('the %s refuses a database that is not a developer’s, in one line', async (program) => {
    const output = await refusal(program, elsewhere);
    expect(output).toEqual([
      'The environment is not valid:',
      expect.stringContaining('  NODE_ENV: must be set where DATABASE_URL is on another'),
    ]);
    expect(Config.parse({ ...elsewhere, NODE_ENV: 'development' }, 'app').isProduction).toBe(false);
  });

  it.each(['postgres://x@127.0.0.1/z', 'postgres://x@localhost:5/z', 'postgres:///z?host=/run/postgresql', 'postgres://%2Frun%2Fpg/z', ''])(
    'and takes one on this machine: %s',
    (url) => expect(Config.parse({ DATABASE_URL: url }, 'app').SECRET_KEY).toHaveLength(32),
  );
});

describe.concurrent('secrets in files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-secrets-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const file = (text: string) => {
    const path = join(folder, randomUUID());
    writeFileSync(path, text);
    return path;
  };

  it('are read where NAME_FILE names one', async () => {
    // As editors and echo write them.
    const environment = {
      ...(await production()),
      CONSOLE_PASSWORD: 'a password of operators',
      REDIS_ADDRESS: 'redis://:secret@127.0.0.1:6379',
    };
    const names = ['DATABASE_URL', 'REDIS_ADDRESS', 'SMTP_URL', 'CONSOLE_PASSWORD', 'SECRET_KEY'] as const;
    const inFiles = names.flatMap((name) => [
      [name, ''],
      [`${name}_FILE`, file(`${environment[name]}\n`)],
    ]);
    const [plain, read] = [environment, { ...environment, ...Object.fromEntries(inFiles) }].map((each) => Config.parse(each, 'app'));
    expect(read).toEqual(plain);
    expect(read?.isSet('DATABASE_URL')).toBe(true);
    expect(read?.REDIS_ADDRESS).toBe('redis://:secret@127.0.0.1:6379');
  });

  it('lead an app to its database', async () => {
    const url = new URL(inject('postgresUrl'));
    url.pathname = '/no_such_database_but_in_a_file';
    const output = await refusal('worker', {
      DATABASE_URL_FILE: file(`${url.href}\n`),
      SECRET_KEY_FILE: file(randomBytes(32).toString('base64')),
    });
    expect(output.join('\n')).toContain('database "no_such_database_but_in_a_file" does not exist');
  });

  it('that cannot be read, are empty, or are not the only ones are refused, a line each', async () => {
    const { SECRET_KEY } = await production();
    expect(
      await refusal('api', {
        ...(await production()),
        DATABASE_URL: '',
        DATABASE_URL_FILE: join(folder, 'none'),
        SMTP_URL: '',
        SMTP_URL_FILE: file('\n'),
        SECRET_KEY_FILE: file(SECRET_KEY),
      }),
    ).toEqual([
      'The environment is not valid:',
      '  DATABASE_URL_FILE: the file cannot be read (ENOENT)',
      '  SMTP_URL_FILE: the file is empty',
      '  SECRET_KEY_FILE: is set, and SECRET_KEY as well: only one of them may be',
    ]);
  });
});

describe('the role in Postgres', () => {
  it('is told, where it is a superuser, by both apps; the one of the development stack is none', async () => {
    const database = await createDatabase();
    const ours = new AppProcess('worker', { ...(await production()), DATABASE_URL: database.url });
    const almighty = new URL(database.url);
    almighty.username = 'postgres';
    const theirs = (['api', 'worker'] as const).map((program) => ({ program, environment: { DATABASE_URL: almighty.href } }));
    const apps = await Promise.all(
      theirs.map(async ({ program, environment }) => new AppProcess(program, { ...(await production()), ...environment })),
    );
    started.push(ours, ...apps);
    for (const app of apps) {
      const line = await app.line(({ level }) => level >= WARN);
      expect(line.msg).toContain('the role of DATABASE_URL is a superuser of the database at 127.0.0.1');
      await app.stop();
      expect(app.lines.filter(({ level }) => level >= WARN)).toHaveLength(1);
    }
    await ours.line(({ msg }) => msg === 'task processor started');
    await ours.stop();
    expect(ours.lines.filter(({ level }) => level >= WARN)).toEqual([]);
    await database.drop();
  });
});

describe.concurrent('a port that is taken', () => {
  it.each(['HTTP_PORT', 'GRPC_PORT', 'METRICS_PORT'])('is told with the name of %s, and the api exits with 1', async (variable) => {
    const port = await freePort();
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    const ports = { HTTP_PORT: String(await freePort()), GRPC_PORT: String(await freePort()), [variable]: String(port) };
    const output = await refusal('api', ports);
    expect(output).toEqual([`${variable}: port ${port} of 127.0.0.1 is taken by another process`]);
    holder.close();
  });

  it.each(['CONSOLE_PORT', 'WORKER_HTTP_PORT'])(
    'is told with the name of %s, and the worker exits with 1 before it looks for its database',
    async (variable) => {
      const port = await freePort();
      const holder = createServer();
      await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
      const output = await refusal('worker', {
        [variable]: String(port),
        CONSOLE_PASSWORD: 'long enough for it',
        ...(await nowhere()),
      });
      expect(output).toEqual([`${variable}: port ${port} of 127.0.0.1 is taken by another process`]);
      holder.close();
    },
  );

  it('is told when the console finds it taken after all', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    const config = Config.parse({ CONSOLE_PORT: String(port), CONSOLE_PASSWORD: 'long enough for it' });
    const failure = await startConsole(config, {} as TaskConsole).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PortUnavailable);
    expect((failure as Error).message).toBe(`CONSOLE_PORT: port ${port} of 127.0.0.1 is taken by another process`);
    holder.close();
  });

  it('is told by the worker that its console is to have it', async () => {
    const lines = await refusal('worker', { CONSOLE_PORT: '1081' });
    expect(lines).toEqual(['The environment is not valid:', '  CONSOLE_PASSWORD: must be set where CONSOLE_PORT is']);
  });
});

describe.concurrent('a path of PUBLIC_URL', () => {
  it('that is the start of the api’s own paths is told in one line, and the api exits with 1', async () => {
    // Not the one that the others' are made from, which nobody may be connected to then.
    const database = await createDatabase();
    const output = await refusal('api', {
      DATABASE_URL: database.url,
      HTTP_PORT: String(await freePort()),
      GRPC_PORT: String(await freePort()),
      PUBLIC_URL: 'https://waybill.example.com/verify-email/',
      LOG_LEVEL: 'silent',
    });
    await database.drop();
    expect(output).toEqual(['PUBLIC_URL: its path /verify-email is where /verify-email is served: choose another']);
  });
});

/** A database that nobody has started, where a developer's would be. */
async function nowhere(): Promise<Record<string, string>> {
  return { POSTGRES_PORT: String(await freePort()) };
}

describe.concurrent('a database that is not there', () => {
  it.each(['migrate', 'tasks'] as const)('is named by %s with its variable, and it exits with 1', async (program) => {
    const environment = await nowhere();
    const address = `127.0.0.1:${environment['POSTGRES_PORT']}`;
    const hint = 'DATABASE_URL is not set, and this is where `make start` and `make services` run one';
    expect(await refusal(program, environment, ['queues'])).toEqual([
      `the database at ${address} cannot be reached (ECONNREFUSED): ${hint}`,
    ]);
  });

  it.each(['api', 'worker'] as const)('or does not let us in: the %s says so in one line, and exits with 1', async (program) => {
    const url = new URL(inject('postgresUrl'));
    url.pathname = '/no_such_database';
    const ports = { HTTP_PORT: String(await freePort()), GRPC_PORT: String(await freePort()) };
    const reason = 'database "no_such_database" does not exist (3D000): see DATABASE_URL';
    expect(await refusal(program, { DATABASE_URL: url.href, ...ports })).toEqual([`the database at ${url.host} cannot be used: ${reason}`]);
  });
});

describe.concurrent('a database that is not migrated', () => {
  it('is waited for by the worker, which says so once and begins when it is, and refused by the operators’ command', async () => {
    const database = await createDatabase({ empty: true });
    const environment = { DATABASE_URL: database.url, WORKER_CONCURRENCY: '1' };
    const worker = new AppProcess('worker', environment);
    started.push(worker);
    const problem = `the database at ${new URL(database.url).host} is not migrated, ${migrations.length} migrations are pending: run \`make migrate\``;
    expect(await worker.line(({ level }) => level >= WARN)).toMatchObject({ msg: `${problem}; waiting for it` });
    expect(await refusal('tasks', environment, ['queues'])).toEqual([problem]);
    // One whose port is taken while it waits.
    const port = await freePort();
    const late = new AppProcess('worker', { ...environment, CONSOLE_PORT: String(port), CONSOLE_PASSWORD: 'long enough for it' });
    started.push(late);
    await late.line(({ level }) => level >= WARN);
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    await migrate(Config.parse(environment), migrations);
    expect(await late.end(50_000)).toBe(1);
    expect(late.output.trimEnd().split('\n').at(-1)).toBe(`CONSOLE_PORT: port ${port} of 127.0.0.1 is taken by another process`);
    expect(late.lines.filter(({ msg }) => msg === 'task processor started')).toEqual([]);
    holder.close();
    await worker.line(({ msg }) => msg === 'task processor started');
    expect(worker.lines.filter(({ level }) => level >= WARN)).toHaveLength(1);
    expect(await worker.stop()).toBe(0);
    await database.drop();
  });
});
