import { type DynamicModule, Module } from '@nestjs/common';
import {
  AccountModule,
  PurgeAccountEvents,
  PurgeAccountLinks,
  PurgeEmailVerifications,
  PurgeSessions,
  PurgeSignUps,
  RotateSigningKeys,
  SendEmailChange,
  SendNotice,
  SendPasswordReset,
  SendVerificationEmail,
} from '@app/account';
import { type Config, ConfigModule, version } from '@app/config';
import { DatabaseModule, ReadinessModule } from '@app/database';
import { armFaults } from '@app/faults';
import { LoggingModule, withLogFields } from '@app/logging';
import { MailModule } from '@app/mail';
import { type TaskMiddleware, TasksModule } from '@app/tasks';
import { TelemetryModule } from '@app/telemetry';
import { migrations } from './migrations.js';

/** Every line that a handler logs carries its task and the request that led to it. */
const logFields: TaskMiddleware = (task, next) => withLogFields({ taskId: task.id, taskType: task.type, requestId: task.requestId }, next);

/** The app that runs tasks: a task runs here once it is listed as a provider. */
@Module({})
export class WorkerModule {
  /** @param role `admin` knows the tasks and runs none: for the operator's command line. */
  static forRoot(config: Config, role: 'worker' | 'admin' = 'worker'): DynamicModule {
    armFaults(config.FAULTS);
    return {
      module: WorkerModule,
      imports: [
        ConfigModule.forRoot(config),
        LoggingModule.forRoot(role),
        DatabaseModule.forRoot(`waybill-${role}`, role === 'worker' ? { poolSize: config.workerPoolSize } : {}),
        TasksModule.forRoot({ role: role === 'worker' ? 'process' : 'admin', ...config.tasks, version, middleware: [logFields] }),
        MailModule,
        AccountModule,
        ...(role === 'worker' ? [ReadinessModule.forRoot(migrations), TelemetryModule] : []),
      ],
      providers: [
        PurgeAccountEvents,
        PurgeAccountLinks,
        PurgeEmailVerifications,
        PurgeSessions,
        PurgeSignUps,
        RotateSigningKeys,
        SendEmailChange,
        SendNotice,
        SendPasswordReset,
        SendVerificationEmail,
      ],
    };
  }
}
