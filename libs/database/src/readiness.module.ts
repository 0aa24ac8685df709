import { type DynamicModule, Module } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { DatabaseReadiness } from './database-readiness.js';
import type { Migrations } from './pending-migrations.js';

/** Gives an app its {@link DatabaseReadiness}. */
@Module({})
export class ReadinessModule {
  /** @param migrations what the database must have had for the app to work. */
  static forRoot(migrations: Migrations): DynamicModule {
    const useFactory = (dataSource: DataSource) => new DatabaseReadiness(dataSource, migrations);
    return {
      module: ReadinessModule,
      providers: [{ provide: DatabaseReadiness, inject: [DataSource], useFactory }],
      exports: [DatabaseReadiness],
    };
  }
}
