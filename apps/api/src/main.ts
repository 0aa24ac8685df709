import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { assertPortsAvailable, Config, PortUnavailable, version } from '@app/config';
import { DatabaseProblem, waitForDatabase } from '@app/database';
import { createLogger } from '@app/logging';
import { BasePathTaken, currentRequestId } from '@app/rpc';
import { boundShutdown } from '@app/shutdown';
import { startProbes, startTelemetry } from '@app/telemetry';
import { createApi } from './api.js';

/** How long calls under way may take to end, and closing connections beyond that. Milliseconds. */
const SHUTDOWN_TIMEOUT = 10_000;
const SHUTDOWN_MARGIN = 5_000;

const config = Config.load('app');
const logger = createLogger('api', config, () => ({ requestId: currentRequestId() }));
Logger.overrideLogger(logger);

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);

try {
  await assertPortsAvailable(config, 'HTTP_PORT', 'GRPC_PORT', 'METRICS_PORT');
  const port = config.METRICS_PORT;
  const metrics = await startTelemetry(config, { app: 'api', version }, port !== undefined);
  await startProbes({ host: config.HOST, port, variable: 'METRICS_PORT', metrics });
  await waitForDatabase(config);
  const app = await createApi(config, logger, SHUTDOWN_TIMEOUT);
  boundShutdown(SHUTDOWN_TIMEOUT + SHUTDOWN_MARGIN);
  process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
  await app.listen();
} catch (error) {
  const isExpected = error instanceof PortUnavailable || error instanceof DatabaseProblem || error instanceof BasePathTaken;
  if (!isExpected) throw error;
  // The path is the one of PUBLIC_URL (createApi).
  process.stderr.write(`${error instanceof BasePathTaken ? `PUBLIC_URL: ${error.problem}` : error.message}\n`);
  process.exit(1);
}
