import type { Config } from '@app/config';
import { type Limits, Pool } from '@app/postgres';
import type pg from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';

/** How long a connection may be waited for, in milliseconds. */
export const CONNECT_TIMEOUT = 5_000;
/** How much later than the server's own limit we stop waiting for the answer to a statement: it ends waits that the server can no longer answer. */
const QUERY_GRACE = 2_000;

/** How an app uses its database. */
export interface DatabaseUse {
  /** How many connections there are at most; default: DATABASE_POOL_SIZE. */
  readonly poolSize?: number;
  /**
   * Whether a statement's plan may be kept for other values, for an app whose
   * statements read few rows, along an index where the table may be large: planning
   * costs them more than the reading. Default: each is planned for the values at
   * hand, since a search over many rows has no plan that is good for all of them.
   */
  readonly keepsPlans?: boolean;
}

/** The options of the apps' data source; every wait for the server has a bound. */
export function dataSourceOptions(
  config: Config,
  applicationName: string,
  { poolSize = config.DATABASE_POOL_SIZE, keepsPlans = false }: DatabaseUse = {},
): PostgresDataSourceOptions {
  return {
    type: 'postgres',
    url: config.DATABASE_URL,
    applicationName,
    poolSize,
    driver: { Pool },
    extra: {
      keepAlive: true,
      // A plan that is kept may have been made while the table was empty, and would read all of it later if it did not go along an index.
      // Where a small table has no such index, its scan is taken for so dear by Postgres before 18 that it would compile it.
      options: keepsPlans ? '-c plan_cache_mode=auto -c enable_seqscan=off -c jit=off' : '-c plan_cache_mode=force_custom_plan',
      statement_timeout: config.DATABASE_STATEMENT_TIMEOUT,
      idle_in_transaction_session_timeout: 60_000,
      connectLimit: CONNECT_TIMEOUT,
      answerLimit: config.DATABASE_STATEMENT_TIMEOUT + QUERY_GRACE,
    } satisfies pg.PoolConfig & Limits,
  };
}

/** A data source with the given entities, for commands that run outside of an app. */
export function createDataSource(config: Config, entities: DataSourceOptions['entities'], applicationName: string): DataSource {
  return new DataSource({ ...dataSourceOptions(config, applicationName), entities });
}
