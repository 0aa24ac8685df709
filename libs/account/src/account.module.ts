import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountEvent } from './account-event.entity.js';
import { AccountEvents } from './account-events.js';
import { AccountService } from './account.service.js';
import { EmailVerification } from './email-verification.entity.js';
import { EmailVerifications } from './email-verifications.js';
import { PasswordHasher } from './password-hasher.js';
import { User } from './user.entity.js';

/** Accounts: signing up, and proving an e-mail address. Its tasks are provided by the app that runs them. */
@Module({
  imports: [TypeOrmModule.forFeature([User, EmailVerification, AccountEvent])],
  providers: [AccountEvents, AccountService, EmailVerifications, PasswordHasher],
  exports: [AccountService, EmailVerifications],
})
export class AccountModule {}
