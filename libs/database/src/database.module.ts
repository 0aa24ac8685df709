import { setTimeout as wait } from 'node:timers/promises';
import type { DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Config } from '@app/config';
import { observePool } from '@app/postgres';
import type pg from 'pg';
import { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { untilUsable } from './database-check.js';
import { type DatabaseUse, dataSourceOptions } from './data-source.js';

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

/** The TypeORM data source of an app; features add their entities with `TypeOrmModule.forFeature`. */
export class DatabaseModule {
  /**
   * @param applicationName how the connections show in `pg_stat_activity`.
   */
  static forRoot(applicationName = 'waybill', use?: DatabaseUse): DynamicModule {
    return TypeOrmModule.forRootAsync({
      inject: [Config],
      useFactory: async (config: Config) => {
        await untilUsable(config);
        // Nest's own attempts are for a database that is lost in this very moment.
        return { ...dataSourceOptions(config, applicationName, use), autoLoadEntities: true };
      },
      dataSourceFactory: async (options) => {
        const dataSource = await new AppDataSource(options!).initialize();
        observePool('app', (dataSource.driver as PostgresDriver).master as pg.Pool);
        return dataSource;
      },
    });
  }
}
