import { Injectable } from '@nestjs/common';
import { Config } from '@app/config';
import { migrate } from '@app/database';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { createPostgresBackend, type Job, Queue, runMigrations, Worker } from 'bullmq';
import pg from 'pg';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { createDatabase } from '../support/database.js';
import { createEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { migrations } from '../support/migrations.js';

/** The first migration of the release in which the ledger is the queue. */
const FIRST_NEW = 'ClaimTasks1764000000040';
const payload = z.object({ name: z.string() });

@Injectable()
@Task({ type: 'test.carried_over', payload })
class CarriedOver implements TaskHandler<{ name: string }> {
  static readonly runs: { name: string; attempt: number }[] = [];

  async handle({ name }: { name: string }, { attempt }: TaskContext): Promise<void> {
    CarriedOver.runs.push({ name, attempt });
  }
}

it('what the last release had in BullMQ’s tables when it was upgraded runs all the same, once', { timeout: 90_000 }, async () => {
  const database = await createDatabase({ empty: true });
  const config = Config.parse({ DATABASE_URL: database.url, LOG_LEVEL: 'silent' });
  await migrate(
    config,
    migrations.slice(
      0,
      migrations.findIndex(({ name }) => name === FIRST_NEW),
    ),
  );
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await runMigrations(client);
  await client.end();

  // As that release wrote them: a row, and a job of the same id.
  const write = async (name: string, state: 'pending' | 'dispatched', more = { failures: 0, delivery: 0, delay: 0 }) => {
    const [row] = await database.query<{ id: string }>(
      `INSERT INTO task (id, type, queue, payload, options, state, failures, delivery, run_at, dispatched_at, verified_at)
       VALUES (gen_random_uuid(), 'test.carried_over', 'default', $1, '{"maxRetry": 5, "timeout": 10000}', $2, $3, $4,
               now() + $5 * interval '1 ms', CASE WHEN $2 = 'dispatched' THEN now() END, CASE WHEN $2 = 'dispatched' THEN now() END) RETURNING id`,
      [JSON.stringify({ name }), state, more.failures, more.delivery, more.delay],
    );
    return { name: 'test.carried_over', data: {}, opts: { jobId: row!.id, delay: more.delay } };
  };
  const connection = { connectionString: database.url } as never;
  const queue = new Queue('default', { connection }, createPostgresBackend);
  queue.on('error', () => undefined);
  const jobs = [
    await write('active', 'dispatched', { failures: 0, delivery: 1, delay: 0 }),
    ...(await Promise.all([1, 2, 3].map((number) => write(`waiting ${number}`, 'dispatched')))),
    await write('to be tried again', 'dispatched', { failures: 2, delivery: 2, delay: 1_000 }),
  ];
  for (const job of jobs) await queue.addBulk([job]);
  await write('not yet moved', 'pending');
  const begun = Promise.withResolvers<Job>();
  const old = new Worker(
    'default',
    (job) => {
      begun.resolve(job);
      return new Promise(() => undefined);
    },
    { connection, concurrency: 1 },
    createPostgresBackend,
  );
  old.on('error', () => undefined);
  expect((await begun.promise).id).toBe(jobs[0]!.opts.jobId);
  await Promise.all([old.close(true), queue.close()]);

  await migrate(config, migrations);
  expect(await database.query(`SELECT FROM information_schema.schemata WHERE schema_name = 'bullmq'`)).toEqual([]);
  const engine = await createEngine('postgres', { database });
  try {
    await engine.worker([CarriedOver]);
    await eventually(async () => (await database.query('SELECT FROM task')).length === 0, 60_000);
    expect(CarriedOver.runs.map(({ name }) => name).sort()).toEqual([
      'active',
      'not yet moved',
      'to be tried again',
      'waiting 1',
      'waiting 2',
      'waiting 3',
    ]);
    expect(CarriedOver.runs.find(({ name }) => name === 'to be tried again')?.attempt).toBe(3);
  } finally {
    await engine.close();
  }
});
