import { type DynamicModule, Module } from '@nestjs/common';
import { AccountModule, SendVerificationEmail } from '@app/account';
import { type Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { LoggingModule, withLogFields } from '@app/logging';
import { MailModule } from '@app/mail';
import { type TaskMiddleware, TasksModule } from '@app/tasks';

/** Every line that a handler logs carries its task and the request that led to it. */
const logFields: TaskMiddleware = (task, next) => withLogFields({ taskId: task.id, taskType: task.type, requestId: task.requestId }, next);

/** The app that runs tasks: a task runs here once it is listed as a provider. */
@Module({})
export class WorkerModule {
  static forRoot(config: Config): DynamicModule {
    return {
      module: WorkerModule,
      imports: [
        ConfigModule.forRoot(config),
        LoggingModule.forRoot('worker'),
        DatabaseModule.forRoot('waybill-worker'),
        TasksModule.forProcessor(config, { middleware: [logFields] }),
        MailModule,
        AccountModule,
      ],
      providers: [SendVerificationEmail],
    };
  }
}
