/**
 * `make conformance`: requests made from /openapi.json against the real api, by schemathesis (https://schemathesis.readthedocs.io):
 * no answer is a 5xx, and every one is what the document says. Skipped, with a line, where there is no Python for it.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { complain, say } from './stack/output.ts';
import { freePort } from './stack/ports.ts';
import { startPostgres } from './stack/postgres.ts';
import { runOnce } from './stack/run-once.ts';
import { ROOT } from './stack/settings.ts';

const VERSION = '4.32.5';
const FOLDER = join(ROOT, '.tools/schemathesis');
/** How many requests of each kind of generation a path gets. */
const EXAMPLES = process.env['CONFORMANCE_EXAMPLES'] ?? '1000';
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
];

/** The program, which is installed where it is not yet; undefined where it cannot be. */
function installed(): string | undefined {
  const program = join(FOLDER, 'bin/schemathesis');
  if (existsSync(program)) return program;
  try {
    execFileSync('python3', ['-m', 'venv', FOLDER], { stdio: 'pipe' });
    execFileSync(join(FOLDER, 'bin/pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${VERSION}`], {
      stdio: 'pipe',
    });
    return program;
  } catch (error) {
    say(
      `NOT RUN: requests made from the OpenAPI document. There is no Python that can install schemathesis (${(error as Error).message.split('\n')[0]})`,
    );
    return undefined;
  }
}

async function untilReady(url: string, api: ChildProcess): Promise<void> {
  while (api.exitCode === null) {
    const ready = await fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (ready) return;
    await wait(100);
  }
  throw new Error('the api ended before it was ready');
}

const program = installed();
if (program !== undefined) {
  const postgres = await startPostgres({ port: 0, temporary: true });
  const [http, grpc] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${http}`;
  const environment = {
    ...process.env,
    DATABASE_URL: postgres.url,
    HTTP_PORT: String(http),
    GRPC_PORT: String(grpc),
    LOG_LEVEL: 'warn',
    SIGN_UP_BURST: '1000000',
    SIGN_UPS_PER_MINUTE: '1000000',
    LOG_IN_BURST: '1000000',
    LOG_INS_PER_MINUTE: '1000000',
  };
  let api: ChildProcess | undefined;
  try {
    await runOnce('migrate', 'dist/migrate.js', environment, new AbortController().signal);
    api = spawn(process.execPath, ['dist/api.js'], { cwd: ROOT, env: environment, stdio: ['ignore', 'inherit', 'inherit'] });
    await untilReady(url, api);
    const options = ['--checks', CHECKS.join(','), '--max-examples', EXAMPLES, '--phases', 'examples,coverage,fuzzing'];
    const { status } = spawnSync(program, ['run', `${url}/openapi.json`, ...options], { cwd: join(ROOT, '.tools'), stdio: 'inherit' });
    if (status !== 0) complain('the api does not answer as its OpenAPI document says (above)');
    process.exitCode = status === 0 ? 0 : 1;
  } finally {
    if (api && api.exitCode === null) {
      api.kill('SIGTERM');
      await once(api, 'exit');
    }
    await postgres.stop();
  }
}
