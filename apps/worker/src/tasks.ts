import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, pendingMigrations } from '@app/database';
import { scrub } from '@app/redaction';
import { DispatcherUnavailable, pendingQueueMigrations, type QueueSummary, TaskAdmin, type TaskFilter } from '@app/tasks';
import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError, Option } from 'commander';
import ms, { type StringValue } from 'ms';
import { WorkerModule } from './worker.module.js';

const STATES = ['pending', 'dispatched', 'dead', 'completed'] as const;
const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d|w|y)?$/;

const config = Config.load();
const weights = new Map(config.QUEUE_WEIGHTS.queues.map((queue) => [queue.name, queue.weight]));

const program = new Command('tasks').description('Look at tasks, and take care of them.').showHelpAfterError();

const json = () => new Option('--json', 'print JSON');
const uuid = (text: string) => {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new InvalidArgumentError('must be the id of a task, a UUID');
  return text;
};
const duration = (text: string) => {
  if (!DURATION.test(text)) throw new InvalidArgumentError('must be a duration such as 10m or 2h');
  return ms(text as StringValue);
};
const positive = (text: string) => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return value;
};
const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('must be JSON');
  }
};
const withFilter = (command: Command) =>
  command
    .option('--type <type>', 'of this type')
    .option('--queue <queue>', 'of this queue')
    .option('--error <text>', 'whose last error contains this text')
    .option('--older-than <duration>', 'finished, or else committed, so long ago', duration);

type Filter = Omit<TaskFilter, 'state'>;
const filterOf = ({ type, queue, error, olderThan }: Filter): Filter => ({ type, queue, error, olderThan });

program
  .command('queues')
  .description('every queue, with what is in it')
  .addOption(json())
  .action((options: { json?: boolean }) =>
    run(async (admin) => {
      const queues = await admin.summarize(weights);
      if (options.json) print(queues);
      else console.table(queues.map(tableRow));
    }),
  );

program
  .command('stats')
  .description('how many tasks there are, by state, and the latency of the queues')
  .addOption(json())
  .action((options: { json?: boolean }) =>
    run(async (admin) => {
      const counts = await Promise.all(STATES.map(async (state) => [state, await admin.count({ state })] as const));
      const latency = Object.fromEntries((await admin.summarize(weights)).map((queue) => [queue.queue, queue.latency]));
      const stats = { tasks: Object.fromEntries(counts), latencyMs: latency };
      if (options.json) print(stats);
      else
        console.table({
          ...stats.tasks,
          ...Object.fromEntries(Object.entries(latency).map(([queue, value]) => [`latency of ${queue} (ms)`, value])),
        });
    }),
  );

withFilter(program.command('list').description('the newest tasks'))
  .addOption(new Option('--state <state>').choices(STATES))
  .option('--limit <count>', 'how many', positive, 50)
  .addOption(json())
  .action((options: TaskFilter & { limit: number; json?: boolean }) =>
    run(async (admin) => {
      const tasks = await admin.list({ ...filterOf(options), state: options.state }, options.limit);
      if (options.json) print(tasks);
      else
        console.table(
          tasks.map(({ id, type, queue, state, failures, runAt, error }) => ({
            id,
            type,
            queue,
            state,
            failures,
            runAt: runAt.toISOString(),
            error: error?.slice(0, 60) ?? '',
          })),
        );
    }),
  );

program
  .command('show')
  .description('the whole story of one task')
  .argument('<id>', 'its id', uuid)
  .addOption(json())
  .action((id: string, options: { json?: boolean }) =>
    run(async (admin) => {
      const story = await admin.show(id);
      if (!story) return fail(`no task ${id} in the ledger: it is done, was cancelled, or never was`);
      if (options.json) return print(story);
      const line = (name: string, value: unknown) =>
        value !== null &&
        value !== undefined &&
        console.log(`${name.padEnd(14)} ${value instanceof Date ? value.toISOString() : String(value)}`);
      line('id', story.id);
      line('type', story.type);
      line('queue', story.queue);
      line('state', `${story.state}: ${story.explanation}`);
      line('request', story.requestId);
      line('committed', story.createdAt);
      line('dispatched', story.dispatchedAt);
      line('next run', story.state === 'pending' || story.state === 'dispatched' ? story.runAt : undefined);
      line('failures', `${story.failures} of ${story.options.maxRetry + 1}`);
      line('crashes', story.crashes);
      line('progress', story.progress === null ? null : JSON.stringify(story.progress));
      for (const { at, what, error, next } of story.history) {
        console.log(`  ${at}  ${what}${error === undefined ? '' : `: ${error}`}${next === undefined ? '' : `; next at ${next}`}`);
      }
    }),
  );

withFilter(
  program
    .command('redrive')
    .description('bring dead tasks back: one by its id, or all that match')
    .argument('[id]', 'the id of one task', uuid),
)
  .option('--all', 'every dead task that matches')
  .option('--payload <json>', 'with an id: the payload to run it with', parsed)
  .option('--rate <count>', 'at most so many a second', positive)
  .option('--dry-run', 'only say how many')
  .addOption(json())
  .action(
    (id: string | undefined, options: Filter & { all?: boolean; payload?: unknown; rate?: number; dryRun?: boolean; json?: boolean }) =>
      run(async (admin) => {
        const filter = filterOf(options);
        if (id !== undefined) {
          await admin.redriveOne(id, options.payload);
          return print({ redriven: 1 });
        }
        if (!options.all && Object.values(filter).every((value) => value === undefined)) return fail('give an id, a filter, or --all');
        if (options.dryRun) return print({ wouldRedrive: await admin.redrive(filter, { dryRun: true }) });
        const redriven = await withBar(options.json, await admin.count({ ...filter, state: 'dead' }), (onProgress) =>
          admin.redrive(filter, { ...(options.rate !== undefined && { rate: options.rate }), onProgress }),
        );
        print({ redriven });
      }),
  );

program
  .command('cancel')
  .description('take a task out that is pending, delayed or running')
  .argument('<id>', 'its id', uuid)
  .addOption(json())
  .action((id: string) =>
    run(async (admin) => {
      const result = await admin.cancel(id);
      print({ result });
      if (result === 'unknown' || result === 'already finished') process.exitCode = 1;
    }),
  );

withFilter(
  program
    .command('delete')
    .description('delete finished tasks: one by its id, or all that match')
    .argument('[id]', 'the id of one task', uuid),
)
  .addOption(new Option('--state <state>').choices(['dead', 'completed']).default('dead'))
  .option('--all', 'every one that matches')
  .addOption(json())
  .action((id: string | undefined, options: TaskFilter & { all?: boolean; json?: boolean }) =>
    run(async (admin) => {
      if (id !== undefined) {
        if (!(await admin.deleteOne(id))) return fail(`no finished task ${id}; one that is still to run is cancelled, not deleted`);
        return print({ deleted: 1 });
      }
      const filter = filterOf(options);
      if (!options.all && Object.values(filter).every((value) => value === undefined)) return fail('give an id, a filter, or --all');
      const whole = { ...filter, state: options.state };
      const deleted = await withBar(options.json, await admin.count(whole), (onProgress) => admin.delete(whole, onProgress));
      print({ deleted });
    }),
  );

for (const verb of ['pause', 'resume'] as const) {
  program
    .command(verb)
    .description(
      verb === 'pause' ? 'let no worker take a task of a queue; running ones finish' : 'let the workers take tasks of a queue again',
    )
    .argument('<queue>')
    .addOption(json())
    .action((queue: string) =>
      run(async (admin) => {
        await admin[verb](queue);
        print({ queue, paused: verb === 'pause' });
      }),
    );
}

await program.parseAsync();

async function run(action: (admin: TaskAdmin) => Promise<void>): Promise<void> {
  try {
    await assertDatabase(config, [pendingMigrations, pendingQueueMigrations(config)]);
  } catch (error) {
    if (!(error instanceof DatabaseProblem)) throw error;
    return fail(error.message);
  }
  const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config, 'admin'), {
    logger: ['error', 'fatal'],
    abortOnError: false,
  });
  try {
    await action(app.get(TaskAdmin, { strict: false }));
  } catch (error) {
    const redis = error instanceof DispatcherUnavailable ? config.REDIS_ADDRESS : undefined;
    const hint = redis === undefined ? '' : `: is Redis running at ${new URL(redis).host}, where REDIS_ADDRESS says it is?`;
    fail(`${scrub((error as Error).message)}${hint}`);
  } finally {
    await app.close();
  }
}

async function withBar<T>(quiet: boolean | undefined, total: number, work: (onProgress: (done: number) => void) => Promise<T>): Promise<T> {
  const bar = new SingleBar({ stream: process.stderr, noTTYOutput: false, format: '{bar} {value}/{total} tasks, {eta} s left' });
  if (!quiet) bar.start(total, 0);
  try {
    return await work((done) => bar.update(done));
  } finally {
    bar.stop();
  }
}

function tableRow({ latency, ...queue }: QueueSummary) {
  return { ...queue, 'latency (ms)': latency };
}

function print(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

function fail(message: string): void {
  console.error(message);
  process.exitCode = 1;
}
