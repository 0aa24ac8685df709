import { type DynamicModule, Module } from '@nestjs/common';
import { AccountModule } from '@app/account';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule, DatabaseReadiness, ReadinessModule } from '@app/database';
import { armFaults } from '@app/faults';
import { LoggingModule } from '@app/logging';
import { currentRequestId, Readiness } from '@app/rpc';
import { TasksModule } from '@app/tasks';
import { TelemetryModule } from '@app/telemetry';
import { DocsController } from './docs.controller.js';
import { HealthController } from './health.controller.js';
import { HomeController } from './home.controller.js';
import { KeysController } from './keys.controller.js';
import { LinkRequests } from './link-requests.js';
import { OpenApiController } from './open-api.controller.js';
import { ResetPageController } from './reset-page.controller.js';
import { SessionController } from './session.controller.js';
import { SourceLimits } from './source-limits.js';
import { UndoPageController } from './undo-page.controller.js';
import { UserController } from './user.controller.js';
import { VerifyPageController } from './verify-page.controller.js';
import { migrations } from './migrations.js';

/** The api: it answers calls and distributes tasks, and talks to nothing but Postgres. */
@Module({})
export class ApiModule {
  /** @param limits of sources, which the pages share with the RPCs. */
  static forRoot(config: Config, limits: SourceLimits): DynamicModule {
    armFaults(config.FAULTS);
    return {
      module: ApiModule,
      imports: [
        ConfigModule.forRoot(config),
        LoggingModule.forRoot('api', () => ({ requestId: currentRequestId() })),
        DatabaseModule.forRoot('waybill-api', { keepsPlans: true }),
        TasksModule.forRoot({ role: 'distribute', ...config.tasks, correlationId: currentRequestId }),
        AccountModule,
        ReadinessModule.forRoot(migrations),
        TelemetryModule,
      ],
      controllers: [
        UserController,
        SessionController,
        KeysController,
        DocsController,
        HomeController,
        OpenApiController,
        ResetPageController,
        UndoPageController,
        VerifyPageController,
        HealthController,
      ],
      providers: [{ provide: Readiness, useExisting: DatabaseReadiness }, { provide: SourceLimits, useValue: limits }, LinkRequests],
    };
  }
}
