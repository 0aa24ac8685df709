import type { Config } from '@app/config';
import { PoolClient } from '@app/postgres';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { migrations } from './migrations/index.js';

/** How long a connection, a statement or a lock may be waited for, in milliseconds. */
const CONNECT_TIMEOUT = 5_000;
const STATEMENT_TIMEOUT = 10_000;
/** A little later than the server's own limit: it ends waits that the server can no longer answer. */
const QUERY_TIMEOUT = STATEMENT_TIMEOUT + 2_000;

/** The options of the apps' data source; every wait for the server has a bound. */
export function dataSourceOptions(config: Config, applicationName: string): DataSourceOptions {
  return {
    type: 'postgres',
    url: config.DATABASE_URL,
    applicationName,
    poolSize: config.DATABASE_POOL_SIZE,
    connectTimeoutMS: CONNECT_TIMEOUT,
    migrations,
    migrationsTableName: 'migration_history',
    extra: {
      keepAlive: true,
      Client: PoolClient,
      // Statements are prepared, but planned for the values at hand: a general plan made while the ledger was empty reads all of it.
      // (One without values has a general plan all the same; the relay's claim sees to it that this reads along an index.)
      options: '-c plan_cache_mode=force_custom_plan',
      statement_timeout: STATEMENT_TIMEOUT,
      query_timeout: QUERY_TIMEOUT,
      idle_in_transaction_session_timeout: 60_000,
    },
  };
}

/** A data source with the given entities, for commands that run outside of an app. */
export function createDataSource(config: Config, entities: DataSourceOptions['entities'], applicationName: string): DataSource {
  return new DataSource({ ...dataSourceOptions(config, applicationName), entities });
}
