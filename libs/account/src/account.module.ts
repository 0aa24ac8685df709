import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { AccessTokens } from './access-tokens.js';
import { AccountDeletion } from './account-deletion.js';
import { AccountEvent } from './account-event.entity.js';
import { AccountEvents } from './account-events.js';
import { AccountLink } from './account-link.entity.js';
import { AccountNotice } from './account-notice.entity.js';
import { AccountNotices } from './account-notices.js';
import { AccountService } from './account.service.js';
import { CurrentPasswords } from './current-passwords.js';
import { EmailChanges } from './email-changes.js';
import { EmailVerification } from './email-verification.entity.js';
import { EmailVerifications } from './email-verifications.js';
import { LogIns } from './log-ins.js';
import { PasswordHasher } from './password-hasher.js';
import { PasswordResetLinks } from './password-reset-links.js';
import { PasswordResets } from './password-resets.js';
import { Session } from './session.entity.js';
import { Sessions } from './sessions.js';
import { SigningKey } from './signing-key.entity.js';
import { SigningKeys } from './signing-keys.js';
import { UserAdmin } from './user-admin.js';
import { User } from './user.entity.js';

/** Accounts: signing up, proving an e-mail address, logging in, a new password for a forgotten one. Its tasks are provided by the app that runs them. */
@Module({
  imports: [TypeOrmModule.forFeature([User, EmailVerification, AccountEvent, AccountLink, AccountNotice, Session, SigningKey])],
  providers: [
    AccessTokens,
    AccountDeletion,
    AccountEvents,
    AccountNotices,
    AccountService,
    CurrentPasswords,
    EmailChanges,
    EmailVerifications,
    LogIns,
    PasswordHasher,
    PasswordResetLinks,
    PasswordResets,
    Sessions,
    SigningKeys,
    UserAdmin,
  ],
  exports: [
    AccessTokens,
    AccountDeletion,
    AccountService,
    CurrentPasswords,
    EmailChanges,
    EmailVerifications,
    LogIns,
    PasswordResetLinks,
    PasswordResets,
    Sessions,
    SigningKeys,
    UserAdmin,
  ],
})
export class AccountModule {}
