import { type DynamicModule, Module } from '@nestjs/common';
import { AccountModule } from '@app/account';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { armFaults } from '@app/faults';
import { LoggingModule } from '@app/logging';
import { currentRequestId, Readiness } from '@app/rpc';
import { TasksModule } from '@app/tasks';
import { DocsController } from './docs.controller.js';
import { DatabaseReadiness, HealthController } from './health.controller.js';
import { HomeController } from './home.controller.js';
import { OpenApiController } from './open-api.controller.js';
import { LinkLimiter } from './source-limits.js';
import { UserController } from './user.controller.js';
import { VerifyPageController } from './verify-page.controller.js';

/** The api: it answers calls and distributes tasks, and talks to nothing but Postgres. */
@Module({})
export class ApiModule {
  /** @param links counts who asks for another link on the page. */
  static forRoot(config: Config, links: LinkLimiter): DynamicModule {
    armFaults(config.FAULTS);
    return {
      module: ApiModule,
      imports: [
        ConfigModule.forRoot(config),
        LoggingModule.forRoot('api', () => ({ requestId: currentRequestId() })),
        DatabaseModule.forRoot('waybill-api'),
        TasksModule.forRoot({ role: 'distribute', ...config.tasks, correlationId: currentRequestId }),
        AccountModule,
      ],
      controllers: [UserController, DocsController, HomeController, OpenApiController, VerifyPageController, HealthController],
      providers: [
        { provide: Readiness, useClass: DatabaseReadiness },
        { provide: LinkLimiter, useValue: links },
      ],
    };
  }
}
