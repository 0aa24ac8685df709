import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccountEvent } from './account-event.entity.js';
import { AccountEvents } from './account-events.js';
import { AccountLink } from './account-link.entity.js';
import { AccountNotice } from './account-notice.entity.js';
import { AccountNotices } from './account-notices.js';
import { AccountService } from './account.service.js';
import { EmailVerification } from './email-verification.entity.js';
import { EmailVerifications } from './email-verifications.js';
import { PasswordHasher } from './password-hasher.js';
import { PasswordResetLinks } from './password-reset-links.js';
import { PasswordResets } from './password-resets.js';
import { User } from './user.entity.js';

/** Accounts: signing up, proving an e-mail address, a new password for a forgotten one. Its tasks are provided by the app that runs them. */
@Module({
  imports: [TypeOrmModule.forFeature([User, EmailVerification, AccountEvent, AccountLink, AccountNotice])],
  providers: [AccountEvents, AccountNotices, AccountService, EmailVerifications, PasswordHasher, PasswordResetLinks, PasswordResets],
  exports: [AccountService, EmailVerifications, PasswordResetLinks, PasswordResets],
})
export class AccountModule {}
