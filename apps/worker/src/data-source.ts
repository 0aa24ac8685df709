import 'reflect-metadata';
import { AccountEvent, AccountLink, AccountNotice, EmailVerification, Session, SigningKey, User } from '@app/account';
import { Config } from '@app/config';
import { createDataSource } from '@app/database';
import { taskEntities } from '@app/tasks';

/** For TypeORM's command line and the check for migration drift: every entity there is. */
export default createDataSource(
  Config.load(),
  [AccountEvent, AccountLink, AccountNotice, EmailVerification, Session, SigningKey, User, ...taskEntities],
  'waybill-cli',
);
