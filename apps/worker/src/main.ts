import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { assertPortsAvailable, Config, PortUnavailable, version } from '@app/config';
import { startConsole } from '@app/console';
import { DatabaseProblem, pendingMigrations, waitForDatabase } from '@app/database';
import { migrations } from './migrations.js';
import { createLogger } from '@app/logging';
import { boundShutdown } from '@app/shutdown';
import { TaskAdmin, TaskHealth } from '@app/tasks';
import { startProbes, startTelemetry } from '@app/telemetry';
import { running, starting } from './worker-health.js';
import { WorkerModule } from './worker.module.js';

/** What giving tasks back and closing connections may take beyond the tasks' own time, all waits taken together. Milliseconds. */
const SHUTDOWN_MARGIN = 10_000;

const config = Config.load('app');
const logger = createLogger('worker', config);
Logger.overrideLogger(logger);

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);
const port = config.WORKER_HTTP_PORT;
let health = starting(config);
try {
  await assertPortsAvailable(config, 'CONSOLE_PORT', 'WORKER_HTTP_PORT');
  const metrics = await startTelemetry(config, { app: 'worker', version }, port !== undefined);
  await startProbes({ host: config.HOST, port, variable: 'WORKER_HTTP_PORT', health: () => health, metrics });
  await waitForDatabase(config, [(client) => pendingMigrations(client, migrations)]);
  // The database may have been waited for so long that the port is somebody else's now.
  await assertPortsAvailable(config, 'CONSOLE_PORT');
} catch (error) {
  if (!(error instanceof PortUnavailable || error instanceof DatabaseProblem)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config), { logger, abortOnError: false });
app.enableShutdownHooks([], { useProcessExit: true });
boundShutdown(config.WORKER_SHUTDOWN_TIMEOUT + SHUTDOWN_MARGIN);
process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
const tasks = app.get(TaskHealth, { strict: false });
// Nest ends a process with 0, whatever its hooks have met.
process.once('exit', () => {
  if (tasks.leftBehind > 0) process.exitCode = 1;
});
health = running(app);
try {
  await startConsole(config, app.get(TaskAdmin, { strict: false }));
} catch (error) {
  if (!(error instanceof PortUnavailable)) throw error;
  process.stderr.write(`${error.message}\n`);
  await app.close();
  process.exit(1);
}
