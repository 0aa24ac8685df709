import { CreateTaskLedger1764000000000 } from './1764000000000-create-task-ledger.js';
import { KeepReleasedKeys1764000000020 } from './1764000000020-keep-released-keys.js';
import { IndexKeptTasks1764000000021 } from './1764000000021-index-kept-tasks.js';
import { ClaimTasks1764000000040 } from './1764000000040-claim-tasks.js';
import { IndexReadyTasks1764000000041 } from './1764000000041-index-ready-tasks.js';
import { ShowWorkers1764000000050 } from './1764000000050-show-workers.js';
import { RecordStatistics1764000000051 } from './1764000000051-record-statistics.js';
import { IndexWhatOperatorsSee1764000000052 } from './1764000000052-index-what-operators-see.js';
import { RecordActions1764000000053 } from './1764000000053-record-actions.js';
import { CarryPlansOutOnce1764000000054 } from './1764000000054-carry-plans-out-once.js';

/** The engine’s, for the `migrations` of a data source, in the order in which they run. One that has been released is never edited. */
export const taskMigrations = [
  CreateTaskLedger1764000000000,
  KeepReleasedKeys1764000000020,
  IndexKeptTasks1764000000021,
  ClaimTasks1764000000040,
  IndexReadyTasks1764000000041,
  ShowWorkers1764000000050,
  RecordStatistics1764000000051,
  IndexWhatOperatorsSee1764000000052,
  RecordActions1764000000053,
  CarryPlansOutOnce1764000000054,
];
