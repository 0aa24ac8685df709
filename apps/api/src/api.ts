import type { LoggerService } from '@nestjs/common';
import { AccessTokens } from '@app/account';
import type { Config } from '@app/config';
import { SessionService, UserService } from '@app/contract';
import { DatabaseReadiness } from '@app/database';
import { createRpcApp, type RpcApp, RpcError } from '@app/rpc';
import { ApiModule } from './api.module.js';
import { SourceLimits } from './source-limits.js';

/**
 * The api, to be listened with: its services, and what errors of the database
 * mean to its callers.
 *
 * @param shutdownTimeout how long calls under way may take to end, in milliseconds.
 * @throws PortUnavailable before anything is started, when a port is taken.
 */
export async function createApi(config: Config, logger: LoggerService | false, shutdownTimeout?: number): Promise<RpcApp> {
  const limits = new SourceLimits(config);
  const app: RpcApp = await createRpcApp(ApiModule.forRoot(config, limits), {
    config,
    services: [UserService, SessionService],
    basePath: new URL(config.PUBLIC_URL).pathname,
    sourceLimits: limits.byMethod,
    authenticate: (token) => app.nest.get(AccessTokens, { strict: false }).authenticate(token),
    logger,
    ...(shutdownTimeout !== undefined && { shutdownTimeout }),
    translate: (error) => (readiness().isPassing(error) ? RpcError.unavailable('try again in a moment', { cause: error }) : undefined),
  });
  const readiness = () => app.nest.get(DatabaseReadiness, { strict: false });
  return app;
}
