import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Config } from '@app/config';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { servicesText } from '../scripts/stack/services-text.ts';
import { settingsOf } from '../scripts/stack/settings.ts';
import vitestConfig from '../vitest.config.js';

const ROOT = join(import.meta.dirname, '..');
const BIN = join(ROOT, 'node_modules/.bin');

/** A folder with a part of this checkout, in which a developer can do what must not be done to the checkout itself. */
const folder = mkdtempSync(join(tmpdir(), 'waybill-developer-'));
beforeAll(() => {
  const files = [
    '.oxlintrc.json',
    '.prettierrc',
    '.prettierignore',
    'package.json',
    'nest-cli.json',
    'tsconfig.json',
    'buf.yaml',
    'buf.gen.yaml',
  ];
  for (const path of [...files, 'proto', 'scripts', 'libs/contract', 'libs/config'])
    cpSync(join(ROOT, path), join(folder, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program there; all that it wrote, and how it ended. */
function run(program: string, ...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      args,
      { cwd: folder, env: { ...process.env, PATH: `${BIN}:${process.env['PATH']}` } },
      (_, stdout, stderr) => resolve({ code: child.exitCode ?? 1, output: `${stderr}${stdout}` }),
    );
  });
}

describe('a library that Nest generates', () => {
  beforeAll(async () => {
    // As `nest g library` does, without its question for the prefix.
    const generated = await run('schematics', '@nestjs/schematics:library', '--name=user-search', '--prefix=@app');
    expect(generated).toMatchObject({ code: 0 });
    writeFileSync(join(folder, 'tsconfig.spec.json'), `{ "extends": "./tsconfig.json", "include": ["libs/user-search"] }\n`);
    const service = join(folder, 'libs/user-search/src/user-search.service.ts');
    writeFileSync(service, `${readFileSync(service, 'utf8')}\nexport { Config } from '@app/config';\n`);
  });

  it.each([
    ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
    ['lint', 'oxlint', '--deny-warnings', 'libs/user-search'],
    ['types, its spec included', 'tsc', '--noEmit', '-p', 'tsconfig.spec.json'],
  ])('passes the check of %s', async (_, program, ...args) => {
    const { code, output } = await run(program, ...args);
    expect(code, output).toBe(0);
  });

  it('is found by the tests, which have the globals that its spec expects', () => {
    const { resolve, test } = vitestConfig as {
      resolve: { alias: { find: string | RegExp; replacement: string }[] };
      test: { globals?: boolean };
    };
    const name = '@app/user-search';
    const alias = resolve.alias.find(({ find }) => (typeof find === 'string' ? find === name : find.test(name)));
    expect(name.replace(alias!.find, alias!.replacement)).toBe(join(ROOT, 'libs/user-search/src/index.ts'));
    expect(test.globals).toBe(true);
  });

  it('is a feature until it is given another rank: it may not import what features may not', async () => {
    const file = join(folder, 'libs/user-search/src/wrong.ts');
    writeFileSync(
      file,
      ['account', 'contract', 'config/src/config'].map((name, index) => `export * as x${index} from '@app/${name}';`).join('\n'),
    );
    const { output } = await run('oxlint', '--format=unix', 'libs/user-search');
    rmSync(file);
    expect(output.match(/'@app\/[\w/-]+' import is restricted/g)?.sort()).toEqual(
      ['account', 'config/src/config', 'contract'].map((name) => `'@app/${name}' import is restricted`),
    );
  });
});

it('a proto that was changed without make proto is told in the first line', async () => {
  const proto = join(folder, 'proto/account/v1/user_service.proto');
  writeFileSync(proto, readFileSync(proto, 'utf8').replace('message CreateUserResponse {', '$&\n  string note = 2;'));
  expect(await run('node', 'scripts/check-contract.ts', '--generated')).toEqual({
    code: 1,
    output: 'stack  | libs/contract/src/gen and clients/typescript/src/gen are not what proto/ generates: run make proto\n',
  });
});

describe('the development stack', () => {
  it.each<Record<string, string>>([
    {},
    { HOST: '0.0.0.0', HTTP_PORT: '8888' },
    { HOST: '::1' },
    { HOST: '2001:db8::7', HTTP_PORT: '8888' },
    { HOST: '192.0.2.7' },
    { HOST: '' },
    { PUBLIC_URL: 'https://waybill.example.com/accounts//' },
    { PUBLIC_URL: '' },
  ])('means by %j the PUBLIC_URL that the apps mean', (environment) => {
    const { publicUrl, linkHost } = settingsOf(environment);
    expect(publicUrl).toBe(Config.parse(environment).PUBLIC_URL);
    expect(URL.canParse(`http://${linkHost}:8080/readyz`)).toBe(true);
  });

  const OWN = { DATABASE_URL: 'postgres://db/x', SMTP_URL: 'smtp://mail' };
  it.each<[string, Record<string, string>]>([
    ['Postgres and the mailbox are running', { POSTGRES_PORT: '5555', SMTP_PORT: '2525', MAILBOX_PORT: '1111', HOST: '::1' }],
    ['The mailbox is running; the database is the one at DATABASE_URL', { DATABASE_URL: OWN.DATABASE_URL }],
    ['Postgres is running; mail goes to SMTP_URL', { SMTP_URL: OWN.SMTP_URL }],
    ['Nothing was started: DATABASE_URL and SMTP_URL name others', OWN],
  ])('says “%s”, and starts the same once more where that was pasted', (heading, environment) => {
    const settings = settingsOf(environment);
    const text = servicesText(settings, undefined);
    expect(text.split('\n')[0]).toBe(heading);
    const pasted = Object.fromEntries([...text.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name!, value!]));
    expect(settingsOf({ ...environment, ...pasted })).toEqual(settings);
    const { DATABASE_URL, SMTP_URL, PUBLIC_URL } = Config.parse({ ...environment, ...pasted });
    expect({ DATABASE_URL, SMTP_URL, PUBLIC_URL }).toEqual({
      DATABASE_URL: environment['DATABASE_URL'] ?? `postgres://waybill:waybill@127.0.0.1:${settings.postgresPort}/waybill`,
      SMTP_URL: environment['SMTP_URL'] ?? `smtp://127.0.0.1:${settings.smtpPort}`,
      PUBLIC_URL: settings.publicUrl,
    });
  });
});
