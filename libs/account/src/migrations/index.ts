import { CreateUsers1764000000001 } from './1764000000001-create-users.js';
import { KeepVerificationLinks1764000000010 } from './1764000000010-keep-verification-links.js';
import { LetSignUpsWait1764000000030 } from './1764000000030-let-sign-ups-wait.js';
import { CreateSessions1764000000100 } from './1764000000100-create-sessions.js';
import { RecordAccountEvents1764000000150 } from './1764000000150-record-account-events.js';
import { MailLinksAndNotices1764000000151 } from './1764000000151-mail-links-and-notices.js';
import { ChangeAddresses1764000000152 } from './1764000000152-change-addresses.js';

/** In the order in which they run. One that has been released is never edited. */
export const accountMigrations = [
  CreateUsers1764000000001,
  KeepVerificationLinks1764000000010,
  LetSignUpsWait1764000000030,
  CreateSessions1764000000100,
  RecordAccountEvents1764000000150,
  MailLinksAndNotices1764000000151,
  ChangeAddresses1764000000152,
];
