import { type DynamicModule, Module } from '@nestjs/common';
import { Config } from './config.js';

/** Gives every module of an app the one {@link Config} it was started with. */
@Module({})
export class ConfigModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: ConfigModule,
      global: true,
      providers: [{ provide: Config, useValue: config }],
      exports: [Config],
    };
  }
}
