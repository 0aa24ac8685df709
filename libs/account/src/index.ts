export { AccountModule } from './account.module.js';
export { AccountService, type SignUp } from './account.service.js';
export { accountMigrations } from './migrations/index.js';
export { EmailVerification } from './email-verification.entity.js';
export { EmailVerifications, type VerificationLink } from './email-verifications.js';
export { PurgeEmailVerifications } from './purge-email-verifications.task.js';
export { PurgeSignUps } from './purge-sign-ups.task.js';
export { SendVerificationEmail } from './send-verification-email.task.js';
export { User } from './user.entity.js';
