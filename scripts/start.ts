/** `make start`: the whole of Waybill on this machine, until ctrl-c. */
import { setTimeout as sleep } from 'node:timers/promises';
import ms, { type StringValue } from 'ms';
import { openFoundation, type Foundation } from './stack/foundation.ts';
import { announce } from './stack/output.ts';
import { runOnce } from './stack/run-once.ts';
import { Service } from './stack/service.ts';
import { readSettings, type StackSettings } from './stack/settings.ts';
import { aborted, runUntilStopped } from './stack/lifetime.ts';

const READY_PATIENCE = 60_000;

async function untilReady(url: string, stopping: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_PATIENCE;
  while (Date.now() < deadline) {
    const response = await fetch(url, { signal: AbortSignal.any([stopping, AbortSignal.timeout(5_000)]) }).catch(() => undefined);
    stopping.throwIfAborted();
    await response?.body?.cancel();
    if (response?.ok) return;
    await sleep(100, undefined, { signal: stopping });
  }
  throw new Error(`the api was not ready within ${READY_PATIENCE / 1000} s: ${url}`);
}

function banner(settings: StackSettings, { mailboxUrl, environment }: Foundation): string {
  const { linkHost, httpPort, grpcPort, consolePort, consolePassword, workerHttpPort, metricsPort, publicUrl } = settings;
  const person = (name: string) =>
    `{"username":"${name.toLowerCase()}","fullName":"${name} Example","email":"${name.toLowerCase()}@example.com","password":"correct horse"}`;
  return [
    'Waybill is running',
    `  HTTP       http://${linkHost}:${httpPort}`,
    `  reference  http://${linkHost}:${httpPort}/docs`,
    `  gRPC       ${linkHost}:${grpcPort}`,
    `  console    http://${linkHost}:${consolePort} (user operator, password ${consolePassword ?? 'as set: CONSOLE_PASSWORD'})`,
    `  metrics    http://${linkHost}:${metricsPort}/metrics (api), http://${linkHost}:${workerHttpPort}/metrics (worker)`,
    `  mail       ${mailboxUrl ?? 'goes to SMTP_URL'}`,
    `  database   ${settings.databaseUrl === undefined ? environment.DATABASE_URL : 'at DATABASE_URL'}`,
    `  queues     ${process.env.REDIS_ADDRESS || process.env.REDIS_ADDRESS_FILE ? 'on Redis, at REDIS_ADDRESS' : 'in Postgres (set REDIS_ADDRESS to use Redis)'}`,
    '',
    'Sign somebody up:',
    `  curl -s 'http://${linkHost}:${httpPort}/v1/users' -H 'content-type: application/json' \\`,
    `    -d '${person('Ada')}'`,
    'or',
    `  grpcurl -plaintext -d '${person('Grace')}' \\`,
    `    '${linkHost}:${grpcPort}' account.v1.UserService/CreateUser`,
    '',
    `The mail with the link (${publicUrl}/verify-email?token=…) follows after ${process.env.VERIFY_EMAIL_DELAY || '10s'}${mailboxUrl ? `, at ${mailboxUrl}` : ''}.`,
    'ctrl-c stops everything.',
  ].join('\n');
}

async function start(settings: StackSettings, stopping: AbortSignal, resources: AsyncDisposableStack): Promise<void> {
  const { host, linkHost, httpPort, grpcPort, consolePort, consolePassword, workerHttpPort, metricsPort, publicUrl } = settings;
  const foundation = await openFoundation(
    settings,
    [
      { variable: 'HTTP_PORT', port: httpPort, host },
      { variable: 'GRPC_PORT', port: grpcPort, host },
      { variable: 'CONSOLE_PORT', port: consolePort, host },
      { variable: 'WORKER_HTTP_PORT', port: workerHttpPort, host },
      { variable: 'METRICS_PORT', port: metricsPort, host },
    ],
    stopping,
    resources,
  );
  const environment = {
    ...process.env,
    ...foundation.environment,
    PUBLIC_URL: publicUrl,
    CONSOLE_PORT: String(consolePort),
    WORKER_HTTP_PORT: String(workerHttpPort),
    METRICS_PORT: String(metricsPort),
    ...(consolePassword !== undefined && { CONSOLE_PASSWORD: consolePassword }),
  };
  await runOnce('migrate', 'dist/migrate.js', environment, stopping);

  const apps = ['api', 'worker'].map(
    (name) =>
      new Service({
        name,
        entry: `dist/${name}.js`,
        environment,
        onStart: (pid) => foundation.runFile.note(name, pid),
      }),
  );
  // An app may take its whole shutdown timeout, and a little to close its connections.
  const patience = ms((process.env.WORKER_SHUTDOWN_TIMEOUT || '10s') as StringValue) + 10_000;
  resources.defer(async () => {
    await Promise.all(apps.map((app) => app.stop(patience)));
  });
  await Promise.race([untilReady(`http://${linkHost}:${httpPort}/readyz`, stopping), ...apps.map((app) => app.ended)]);
  for (const app of apps) app.keep();
  announce(banner(settings, foundation));
  await aborted(stopping);
}

await runUntilStopped((stopping, resources) => start(readSettings(), stopping, resources));
