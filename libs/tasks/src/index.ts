/**
 * Terms.
 *
 * - task: what we declare, a type, a payload, a handler and a policy.
 * - ledger: the table that holds every task from the commit that made it until it is completed or buried.
 * - distributor: writes the ledger. processor: runs handlers.
 * - dispatcher: hands tasks to the workers of BullMQ: the ledger itself, or Redis. job: BullMQ's view of a task.
 * - claim: a worker takes a task from the ledger. relay: moves tasks from the ledger to Redis.
 * - delivery: one start of a task's job. attempt: a delivery that counts against the retries.
 */
export { type Backoff, type BackoffFunction, defaultBackoff } from './declare/backoff.js';
export { DispatcherUnavailable } from './dispatch/redis/answered.js';
export { type Distributed, type DistributeManyOptions, type DistributeOptions, TaskDistributor } from './distribute/distributor.js';
export type { Duration } from './declare/duration.js';
export { InvalidTask, RetryIn, RevokeTask, SkipRetry, StaleAttempt, TaskTimeout } from './declare/errors.js';
export type { TaskMiddleware } from './run/runner.js';
export {
  type DeadTask,
  type DeathReason,
  type QueueName,
  type Queues,
  type Schedule,
  Task,
  type TaskContext,
  type TaskDeclaration,
  type TaskHandler,
  type TaskOptions,
} from './declare/task.js';
export {
  CANCEL_RESULTS,
  type CancelResult,
  describeEvent,
  describeTasks,
  describeTime,
  milestone,
  type TaskFilter,
} from './operate/operator-texts.js';
export {
  type ActionKind,
  type ActionRecord,
  type ActionResult,
  type Count,
  type DeadGroup,
  type Json,
  OPERATOR_STATES,
  type Operator,
  type OperatorState,
  type Overview,
  type Plan,
  type Problem,
  type QueueView,
  Refused,
  type RevealedPayload,
  type RunningTask,
  type ScheduleView,
  type SearchPage,
  type Seen,
  type Series,
  type SeriesRange,
  type TaskActionKind,
  type TaskConsole,
  type TaskPage,
  type TaskRow,
  type TaskSearch,
  type Tick,
  type TimelineEntry,
  type WorkerView,
} from './operate/views.js';
export { type ListedTask, type QueueSummary, type Redriven, TaskAdmin, type TaskStory, UnknownName } from './operate/task-admin.js';
export { TaskHealth } from './operate/task-health.js';
export { TaskQueues } from './dispatch/redis/queues.js';
export { taskMigrations } from './ledger/migrations/index.js';
export { QueuePause, ScheduleRecord, StatisticRecord, taskEntities, TaskRecord, WorkerRecord } from './ledger/task-record.entity.js';
export type { QueueShare, QueueWeights, TasksOptions } from './options.js';
export { type TasksAsyncOptions, TasksModule, type TasksRole } from './tasks.module.js';
