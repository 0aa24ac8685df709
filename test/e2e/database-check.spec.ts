import { type AddressInfo, createServer } from 'node:net';
import { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, migrate, pendingMigrations } from '@app/database';
import { expect, inject, it } from 'vitest';
import { freePort } from '../../scripts/stack/ports.ts';
import { createDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';

/** What is wrong with the database, as a person is told. */
async function problemOf(environment: Record<string, string>): Promise<Pick<DatabaseProblem, 'kind' | 'message'> | undefined> {
  const config = Config.parse(environment);
  try {
    await assertDatabase(config, [(client) => pendingMigrations(client, migrations)]);
    return undefined;
  } catch (error) {
    if (!(error instanceof DatabaseProblem)) throw error;
    expect(error.message).not.toMatch(/\n|a-secret|some-user/);
    return { kind: error.kind, message: error.message };
  }
}

it('a database that nobody has started is named with its variable', async () => {
  const port = String(await freePort());
  const what = `the database at 127.0.0.1:${port} cannot be reached (ECONNREFUSED)`;
  expect(await problemOf({ POSTGRES_PORT: port })).toEqual({
    kind: 'unavailable',
    message: `${what}: DATABASE_URL is not set, and this is where \`make start\` and \`make services\` run one`,
  });
  expect(await problemOf({ DATABASE_URL: `postgres://some-user:a-secret@127.0.0.1:${port}/waybill` })).toEqual({
    kind: 'unavailable',
    message: `${what}: DATABASE_URL says that it is there`,
  });
});

it('one that takes connections and says nothing is not waited for longer than a few seconds', async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  const begin = performance.now();
  expect(await problemOf({ DATABASE_URL: `postgres://some-user:a-secret@127.0.0.1:${port}/waybill` })).toEqual({
    kind: 'unavailable',
    message: `the database at 127.0.0.1:${port} cannot be reached (timeout expired): DATABASE_URL says that it is there`,
  });
  expect(performance.now() - begin).toBeLessThan(10_000);
  silent.close();
});

it.each([
  ['no such database', (url: URL) => (url.pathname = '/no_such_database'), /: see DATABASE_URL$/],
  ['no such role', (url: URL) => (url.username = 'no_such_role'), /\((28000|28P01)\): see DATABASE_URL$/],
  [
    'TLS of a server that has none',
    (url: URL) => url.searchParams.set('sslmode', 'verify-full'),
    /The server does not support SSL connections$/,
  ],
  [
    'a certificate that is not there',
    (url: URL) => url.searchParams.set('sslrootcert', '/no/such.pem'),
    /\/no\/such\.pem.* \(ENOENT\): see DATABASE_URL$/,
  ],
])('one that does not let us in is not waited for at all: %s', async (_, change, message) => {
  const url = new URL(inject('postgresUrl'));
  change(url);
  const problem = await problemOf({ DATABASE_URL: url.href });
  expect(problem).toEqual({ kind: 'refused', message: expect.stringMatching(message) });
  expect(problem?.message).toMatch(`the database at ${url.host} cannot be used: `);
});

it('one that is not migrated, or not up to this release, needs `make migrate`', async () => {
  const database = await createDatabase({ empty: true });
  const environment = { DATABASE_URL: database.url };
  const pending = (count: string) => ({
    kind: 'unmigrated',
    message: `the database at ${new URL(database.url).host} is not migrated, ${count} pending: run \`make migrate\``,
  });
  expect(await problemOf(environment)).toEqual(pending(`${migrations.length} migrations are`));
  await migrate(Config.parse(environment), migrations);
  expect(await problemOf(environment)).toBeUndefined();
  await database.query('DELETE FROM migration_history WHERE id = (SELECT max(id) FROM migration_history)');
  expect(await problemOf(environment)).toEqual(pending('1 migration is'));
  await database.drop();
});
