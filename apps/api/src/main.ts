import 'reflect-metadata';
import { Config } from '@app/config';
import { UserService } from '@app/contract';
import { isDatabaseUnavailable } from '@app/postgres';
import { createLogger } from '@app/logging';
import { createRpcApp, currentRequestId, PortUnavailable, RpcError } from '@app/rpc';
import { boundShutdown } from '@app/shutdown';
import { ApiModule } from './api.module.js';

/** How long calls under way may take to end, and closing connections beyond that. Milliseconds. */
const SHUTDOWN_TIMEOUT = 10_000;
const SHUTDOWN_MARGIN = 5_000;

const config = Config.load();

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);

try {
  const app = await createRpcApp(ApiModule.forRoot(config), {
    config,
    services: [UserService],
    shutdownTimeout: SHUTDOWN_TIMEOUT,
    logger: createLogger('api', config, () => ({ requestId: currentRequestId() })),
    translate: (error) => (isDatabaseUnavailable(error) ? RpcError.unavailable('try again in a moment', { cause: error }) : undefined),
  });
  boundShutdown(SHUTDOWN_TIMEOUT + SHUTDOWN_MARGIN);
  process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
  await app.listen();
} catch (error) {
  if (!(error instanceof PortUnavailable)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
