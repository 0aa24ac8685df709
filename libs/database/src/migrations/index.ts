import { CreateTaskLedger1764000000000 } from './1764000000000-create-task-ledger.js';
import { CreateUsers1764000000001 } from './1764000000001-create-users.js';
import { KeepVerificationLinks1764000000010 } from './1764000000010-keep-verification-links.js';
import { KeepReleasedKeys1764000000020 } from './1764000000020-keep-released-keys.js';
import { IndexKeptTasks1764000000021 } from './1764000000021-index-kept-tasks.js';
import { LetSignUpsWait1764000000030 } from './1764000000030-let-sign-ups-wait.js';
import { ClaimTasks1764000000040 } from './1764000000040-claim-tasks.js';
import { IndexReadyTasks1764000000041 } from './1764000000041-index-ready-tasks.js';

/** In the order in which they run. A migration that has been released is never edited. */
export const migrations = [
  CreateTaskLedger1764000000000,
  CreateUsers1764000000001,
  KeepVerificationLinks1764000000010,
  KeepReleasedKeys1764000000020,
  IndexKeptTasks1764000000021,
  LetSignUpsWait1764000000030,
  ClaimTasks1764000000040,
  IndexReadyTasks1764000000041,
];
