import { Injectable } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { Loop } from '../loop.js';
import { TaskLogger } from '../task-logger.js';
import { Listener } from './listener.js';
import { LEASE, PRESENCE_LOCK, SILENCE } from './worker-lease.js';

/** The first of two keys of an advisory lock, any number; the second stands for the queues. */
const ELECTION_LOCK = 730_945_301;
/** How often the others ask, and so how soon one takes over. Milliseconds. */
const INTERVAL = 5_000;

/**
 * Ends the connection of the elected process when nothing was heard of it for so
 * long that it is taken for dead. It hangs, and its machine, which still answers
 * for it, would keep the election for it: nobody would remove it, least of all itself.
 */
const END_SILENT = `
  SELECT pg_terminate_backend(elected.pid) FROM pg_locks AS elected
  JOIN pg_locks AS present ON present.pid = elected.pid JOIN task_worker ON task_worker.id = present.objid
  WHERE elected.locktype = 'advisory' AND elected.classid = ${ELECTION_LOCK} AND elected.objid = hashtext($1)::oid AND elected.granted
    AND present.locktype = 'advisory' AND present.classid = ${PRESENCE_LOCK} AND lease_until < now() - ${SILENCE - LEASE} * interval '1 ms'
    AND elected.database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/**
 * Elects one process of all that serve the same queues, for what one alone should do. The lock
 * goes with the connection, so that another one is elected within some seconds of
 * the end of the process, or some 15 s of its machine's; or of one that hangs when
 * that is taken for dead.
 */
@Injectable()
export class Election {
  private electedAt: number | undefined;
  readonly asking = new Loop(
    () => this.ask(),
    INTERVAL,
    (error) => this.logger.trouble('election', error),
  );

  private readonly queues: string;
  /** Called when this process has become the elected one. */
  onElected: () => void = () => undefined;

  constructor(
    options: EngineOptions,
    private readonly listener: Listener,
    private readonly logger: TaskLogger,
  ) {
    this.queues = options.queueNames.sort().join(',');
    listener.on('connected', () => this.asking.wake());
    listener.on('lost', () => (this.electedAt = undefined));
  }

  start(): void {
    this.asking.start();
  }

  stop(): Promise<void> {
    this.electedAt = undefined;
    return this.asking.stop();
  }

  /** For how many milliseconds this process has been the elected one without a break; undefined when it is not. */
  get heldFor(): number | undefined {
    return this.electedAt === undefined ? undefined : performance.now() - this.electedAt;
  }

  private async ask(): Promise<void> {
    const { connection } = this.listener;
    if (!connection || this.electedAt !== undefined) return;
    const { rows } = await connection.query<{ elected: boolean }>(
      `SELECT pg_try_advisory_lock(${ELECTION_LOCK}, hashtext($1)) AS elected`,
      [this.queues],
    );
    this.logger.well('election');
    if (!rows[0]!.elected) await connection.query(END_SILENT, [this.queues]);
    else if (this.listener.connection === connection) {
      this.electedAt = performance.now();
      this.onElected();
    }
  }
}
