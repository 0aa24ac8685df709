import { setTimeout as wait } from 'node:timers/promises';
import { type DynamicModule, Logger } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Config } from '@app/config';
import { isDatabaseUnavailable } from '@app/postgres';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { dataSourceOptions } from './data-source.js';

const RETRY_INTERVAL = 500;
const REMINDER_INTERVAL = 30_000;

/** How long the queries under way may take to end when the app does. Milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/** A data source whose end is bounded: a database that does not answer would keep its app from ending. */
class AppDataSource extends DataSource {
  override async destroy(): Promise<void> {
    const bound = new AbortController();
    await Promise.race([super.destroy(), wait(CLOSE_TIMEOUT, undefined, { signal: bound.signal }).catch(() => undefined)]).finally(() =>
      bound.abort(),
    );
  }
}

/** Connects, and waits for a database that is not up yet; says so once, and then rarely. */
async function connectPatiently(options: DataSourceOptions): Promise<DataSource> {
  const logger = new Logger('Database');
  let saidAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const dataSource = new AppDataSource(options);
    try {
      return await dataSource.initialize();
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      if (Date.now() - saidAt >= REMINDER_INTERVAL) {
        saidAt = Date.now();
        logger.warn({ err: error }, 'the database cannot be reached; waiting for it');
      }
      await wait(RETRY_INTERVAL);
    }
  }
}

/** The TypeORM data source of an app; features add their entities with `TypeOrmModule.forFeature`. */
export class DatabaseModule {
  /** @param applicationName how the connections show in `pg_stat_activity`. */
  static forRoot(applicationName = 'waybill'): DynamicModule {
    return TypeOrmModule.forRootAsync({
      inject: [Config],
      useFactory: (config: Config) => ({ ...dataSourceOptions(config, applicationName), autoLoadEntities: true, retryAttempts: 1 }),
      dataSourceFactory: (options) => connectPatiently(options!),
    });
  }
}
