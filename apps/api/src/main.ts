import 'reflect-metadata';
import { Config } from '@app/config';
import { UserService } from '@app/contract';
import { isDatabaseUnavailable } from '@app/postgres';
import { createLogger } from '@app/logging';
import { createRpcApp, currentRequestId, PortUnavailable, RpcError } from '@app/rpc';
import { ApiModule } from './api.module.js';

const config = Config.load();

// Until the shutdown hooks are there, nothing has begun that would have to end: a signal ends the process at once, and well.
const exitAtOnce = () => process.exit(0);
process.once('SIGTERM', exitAtOnce).once('SIGINT', exitAtOnce);

try {
  const app = await createRpcApp(ApiModule.forRoot(config), {
    config,
    services: [UserService],
    basePath: new URL(config.PUBLIC_URL).pathname,
    logger: createLogger('api', config, () => ({ requestId: currentRequestId() })),
    translate: (error) => (isDatabaseUnavailable(error) ? RpcError.unavailable('try again in a moment', { cause: error }) : undefined),
  });
  process.off('SIGTERM', exitAtOnce).off('SIGINT', exitAtOnce);
  await app.listen();
} catch (error) {
  if (!(error instanceof PortUnavailable)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
