import { Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { isMissingInSchema, isTransient } from '@app/postgres';
import type { DataSource } from 'typeorm';
import { type Migrations, pendingMigrations } from './pending-migrations.js';

/** Milliseconds. How long the database may take to answer before the app counts as not ready. */
const DEADLINE = 2_000;
/** Milliseconds. How often what is wrong is said once more. */
const REMINDER_INTERVAL = 60_000;

/** Fails as a write would: on a database that can only be read, such as one that a failover has left behind. */
const ASSERT_WRITABLE = `DO $$ BEGIN
  IF pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean THEN
    RAISE read_only_sql_transaction USING MESSAGE = 'the database can only be read';
  END IF;
END $$`;

/** What the app can do: serve, not serve because of its database, not before `make migrate`, or not any more. */
type State = 'ok' | 'unavailable' | 'unmigrated' | 'closing';

const REASONS = {
  ok: undefined,
  unavailable: 'the database does not answer, or cannot be written',
  unmigrated: 'migrations are pending: run `make migrate`',
  closing: 'the app is shutting down',
} as const;

/** Whether an app can work: the database answers, can be written and is migrated, and no shutdown has begun. What an app provides for its health checks. */
export class DatabaseReadiness implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('Readiness');
  private probe?: Promise<State>;
  private state: State = 'ok';
  private error: unknown;
  private saidAt = 0;

  /** @param migrations what the database must have had. */
  constructor(
    private readonly dataSource: DataSource,
    private readonly migrations: Migrations,
  ) {}

  /**
   * Whether an error means that the same may succeed in a moment: the database
   * cannot serve now, or lacks what migrations that are pending will make.
   */
  isPassing(error: unknown): boolean {
    if (isTransient(error)) return true;
    if (!isMissingInSchema(error)) return false;
    const isUnmigrated = this.state === 'unmigrated';
    // The state is what the last look has found, which may be long ago where nobody asks for the app's health.
    void this.isReady();
    return isUnmigrated;
  }

  /** Why the app is not ready, as far as the last look could tell. */
  get reason(): string | undefined {
    return REASONS[this.state];
  }

  /** Answers within a few seconds, and never throws. */
  async isReady(): Promise<boolean> {
    // One probe at a time: while the database hangs, checks must not take connections away from calls.
    this.probe ??= this.look().finally(() => (this.probe = undefined));
    this.become(await withDeadline(this.probe));
    return this.state === 'ok';
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.isReady();
  }

  onModuleDestroy(): void {
    this.state = 'closing';
  }

  private async look(): Promise<State> {
    this.error = undefined;
    try {
      await this.dataSource.query(ASSERT_WRITABLE);
      const pending = await pendingMigrations({ query: async (sql) => ({ rows: await this.dataSource.query(sql) }) }, this.migrations);
      return pending.length === 0 ? 'ok' : 'unmigrated';
    } catch (error) {
      this.error = error;
      return 'unavailable';
    }
  }

  private become(state: State): void {
    if (this.state === 'closing') return;
    const isNews = state !== this.state;
    this.state = state;
    if (state === 'ok') {
      if (isNews) this.logger.log('the database can be used again');
    } else if (isNews || Date.now() - this.saidAt >= REMINDER_INTERVAL) {
      this.saidAt = Date.now();
      this.logger.warn({ ...(state === 'unavailable' && { err: this.error }) }, `not ready: ${REASONS[state]}`);
    }
  }
}

function withDeadline(probe: Promise<State>): Promise<State> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('unavailable'), DEADLINE);
    void probe.then((state) => {
      clearTimeout(timer);
      resolve(state);
    });
  });
}
