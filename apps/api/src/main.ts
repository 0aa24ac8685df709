import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { assertPortsAvailable, Config, PortUnavailable } from '@app/config';
import { DatabaseProblem, waitForDatabase } from '@app/database';
import { createLogger } from '@app/logging';
import { currentRequestId } from '@app/rpc';
import { createApi } from './api.js';

const config = Config.load();
const logger = createLogger('api', config, () => ({ requestId: currentRequestId() }));
Logger.overrideLogger(logger);

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);

try {
  await assertPortsAvailable(config, 'HTTP_PORT', 'GRPC_PORT');
  await waitForDatabase(config);
  const app = await createApi(config, logger);
  process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
  await app.listen();
} catch (error) {
  if (!(error instanceof PortUnavailable || error instanceof DatabaseProblem)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
