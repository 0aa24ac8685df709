import type { DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Config } from '@app/config';
import { waitForDatabase } from './database-check.js';
import { dataSourceOptions } from './data-source.js';

/** The TypeORM data source of an app; features add their entities with `TypeOrmModule.forFeature`. */
export class DatabaseModule {
  /** @param applicationName how the connections show in `pg_stat_activity`. */
  static forRoot(applicationName = 'waybill'): DynamicModule {
    return TypeOrmModule.forRootAsync({
      inject: [Config],
      useFactory: async (config: Config) => {
        await waitForDatabase(config);
        // Nest's own attempts are for a database that is lost in this very moment.
        return { ...dataSourceOptions(config, applicationName), autoLoadEntities: true };
      },
    });
  }
}
