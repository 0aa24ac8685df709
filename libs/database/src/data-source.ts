import type { Config } from '@app/config';
import { PoolClient } from '@app/postgres';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';

/** How long a connection may be waited for, in milliseconds. */
const CONNECT_TIMEOUT = 5_000;
/** How much later than the server's own limit we stop waiting for the answer to a statement: it ends waits that the server can no longer answer. */
const QUERY_GRACE = 2_000;

/** The options of the apps' data source; every wait for the server has a bound. */
export function dataSourceOptions(
  config: Config,
  applicationName: string,
  poolSize: number = config.DATABASE_POOL_SIZE,
): PostgresDataSourceOptions {
  return {
    type: 'postgres',
    url: config.DATABASE_URL,
    applicationName,
    poolSize,
    connectTimeoutMS: CONNECT_TIMEOUT,
    extra: {
      keepAlive: true,
      Client: PoolClient,
      // Statements are prepared, but planned for the values at hand: a general plan made while the ledger was empty reads all of it.
      // (One without values has a general plan all the same; the relay's claim sees to it that this reads along an index.)
      options: '-c plan_cache_mode=force_custom_plan',
      statement_timeout: config.DATABASE_STATEMENT_TIMEOUT,
      query_timeout: config.DATABASE_STATEMENT_TIMEOUT + QUERY_GRACE,
      idle_in_transaction_session_timeout: 60_000,
    },
  };
}

/** A data source with the given entities, for commands that run outside of an app. */
export function createDataSource(config: Config, entities: DataSourceOptions['entities'], applicationName: string): DataSource {
  return new DataSource({ ...dataSourceOptions(config, applicationName), entities });
}
