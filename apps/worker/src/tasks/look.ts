import {
  type Count,
  describeEvent,
  describeTasks,
  describeTime,
  type ListedTask,
  milestone,
  type Series,
  type TaskFilter,
  type TaskStory,
  type WorkerView,
} from '@app/tasks';
import { type Command, Option } from 'commander';
import ms from 'ms';
import type { Session } from './session.js';
import { filterOf, json, positive, uuid, withFilter, words } from './options.js';
import { type Column, oneLine, table, type Terminal } from './terminal.js';

const STATES = ['pending', 'dispatched', 'dead', 'completed'] as const;

const QUEUE: Column = { head: 'queue', width: 36 };
const figures = (...heads: string[]): Column[] => heads.map((head) => ({ head, width: 8, align: 'right' }));
const LATENCY: Column = { head: 'latency', width: 8, align: 'right' };

/** The commands that only look. */
export function addLookCommands(program: Command, { run, weights, terminal }: Session): void {
  program
    .command('queues')
    .description('every queue, with what is in it')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const queues = await admin.summarize(weights);
        if (options.json) return terminal.json(queues);
        const columns = [QUEUE, ...figures('weight', 'paused', 'pending', 'waiting', 'active', 'delayed', 'dead'), LATENCY];
        const rows = queues.map(({ queue, weight, paused, pending, waiting, active, delayed, dead, latency }) => [
          queue,
          weight === 0 ? 'none' : weight,
          paused ? 'yes' : 'no',
          pending,
          waiting,
          active,
          delayed,
          dead,
          ms(latency),
        ]);
        terminal.say(table(columns, rows));
      }),
    );

  program
    .command('stats')
    .description('how many tasks there are, by state, and the latency of the queues')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const counts = await Promise.all(STATES.map(async (state) => [state, await admin.count({ state })] as const));
        const latencies = (await admin.summarize(weights)).map(({ queue, latency }) => [queue, latency] as const);
        if (options.json) return terminal.json({ tasks: Object.fromEntries(counts), latencyMs: Object.fromEntries(latencies) });
        terminal.say(
          table(
            [{ head: 'state', width: 36 }, ...figures('tasks')],
            counts.map(([state, count]) => [state, count]),
          ),
        );
        terminal.say('');
        terminal.say(
          table(
            [QUEUE, LATENCY],
            latencies.map(([queue, latency]) => [queue, ms(latency)]),
          ),
        );
      }),
    );

  program
    .command('overview')
    .description('every queue with what is in it, and what is wrong now')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const overview = await admin.overview();
        if (options.json) return terminal.json(overview);
        const columns = [QUEUE, ...figures('weight', 'paused', 'ready', 'running', 'delayed', 'dead'), LATENCY];
        const rows = overview.queues.map(({ queue, weight, paused, ready, running, delayed, dead, latency }) => [
          oneLine(queue),
          weight === 0 ? 'none' : weight,
          paused ? 'yes' : 'no',
          ...[ready, running, delayed, dead].map(figure),
          ms(latency),
        ]);
        terminal.say(table(columns, rows));
        terminal.say('');
        if (overview.problems.length === 0) terminal.say('Nothing is wrong.');
        for (const { text } of overview.problems) terminal.say(oneLine(text));
      }),
    );

  program
    .command('charts')
    .description('what happened over the last hour, or day')
    .option('--day', 'over the last day')
    .option('--queue <queue>', 'in one queue', words)
    .addOption(json())
    .action((options: { day?: boolean; queue?: string; json?: boolean }) =>
      run(async (admin) => {
        const series = await admin.series(options.day ? 'day' : 'hour', options.queue);
        if (options.json) return terminal.json(series);
        tellSeries(series, options.day ? 8 : 5, terminal);
      }),
    );

  program
    .command('dead')
    .description('the dead by type and error, those first of which most died within the last day')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const groups = await admin.deadGroups();
        if (options.json) return terminal.json(groups);
        if (groups.length === 0) return terminal.say('No task is dead.');
        for (const { type, group, count, lastDay, firstAt, lastAt } of groups) {
          terminal.say(
            oneLine(
              `${figure(count)} dead, ${figure(lastDay)} of them within the last day: ${type}: ${group === '' ? 'not grouped' : group}`,
            ),
          );
          terminal.say(`  the first died ${describeTime(firstAt)}, the last ${describeTime(lastAt)}`);
        }
      }),
    );

  program
    .command('workers')
    .description('every worker process, with what it runs now')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const workers = await admin.workers();
        if (options.json) return terminal.json(workers);
        if (workers.length === 0) return terminal.say('No worker is alive: tasks wait until one is started.');
        for (const worker of workers) tellWorker(worker, terminal);
      }),
    );

  withFilter(program.command('list').description('the newest tasks'))
    .addOption(new Option('--state <state>', 'in this state').choices(STATES))
    .option('--limit <count>', 'how many', positive, 50)
    .addOption(json())
    .action((options: TaskFilter & { limit: number; json?: boolean }) =>
      run(async (admin) => {
        const filter = { ...filterOf(options), state: options.state };
        const tasks = await admin.list(filter, options.limit);
        if (options.json) return terminal.json(tasks);
        if (tasks.length === 0) return terminal.say(`There is ${describeTasks(0, filter)}.`);
        terminal.say(taskTable(tasks));
        if (tasks.length === options.limit) terminal.say(`These are the newest ${options.limit}; --limit shows more.`);
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
        if (!story) return terminal.fail(`there is no task ${id} in the ledger: it is done, was cancelled, or never was`);
        if (options.json) return terminal.json(story);
        tell(story, terminal);
      }),
    );
}

/** Two lines a task, since an id, a type and a time fill one. */
function taskTable(tasks: readonly ListedTask[]): string {
  const columns = [
    { head: 'id', width: 36 },
    { head: 'type', width: 36 },
    { head: '', width: 44 },
  ];
  return table(
    columns,
    tasks.flatMap((task) => {
      const { what, at } = milestone(task);
      const failures = task.failures === 0 ? '' : `, ${task.failures} ${task.failures === 1 ? 'failure' : 'failures'}`;
      const error = task.error === null ? '' : `: ${task.error}`;
      return [
        [task.id, oneLine(task.type), `${what} ${describeTime(at)}`],
        [{ colSpan: columns.length, content: oneLine(`${task.state}, queue ${task.queue}${failures}${error}`) }],
      ];
    }),
  );
}

/** `3`, or `~250000` where it was not counted to the end. */
function figure({ count, exact }: Count): string {
  return `${exact ? '' : '~'}${count}`;
}

/** @param spans how many of the series' spans one line stands for. */
function tellSeries(series: Series, spans: number, terminal: Terminal): void {
  const columns: Column[] = [
    { head: 'from', width: 21 },
    ...figures('started', 'done', 'failed', 'died', 'waited', 'ran', 'ready', 'dead'),
  ];
  const known = (values: (number | null)[]) => values.filter((value) => value !== null);
  const sum = (values: (number | null)[]) => known(values).reduce((total, value) => total + value, 0);
  const most = (values: (number | null)[]) => (known(values).length === 0 ? '' : Math.max(...known(values)));
  const mean = (values: (number | null)[]) => (known(values).length === 0 ? '' : ms(Math.round(sum(values) / known(values).length)));
  const rows = [];
  for (let from = 0; from < series.at.length; from += spans) {
    const part = (values: (number | null)[]) => values.slice(from, from + spans);
    rows.push([
      `${series.at[from]!.toISOString().slice(0, 16).replace('T', ' ')}Z`,
      ...[series.started, series.completed, series.failed, series.died].map((values) => sum(part(values))),
      ...[series.waited, series.ran].map((values) => mean(part(values))),
      ...[series.ready, series.dead].map((values) => most(part(values))),
    ]);
  }
  terminal.say(table(columns, rows));
}

function tellWorker(
  { id, host, pid, version, startedAt, heardAt, alive, queues, slots, inUse, running }: WorkerView,
  terminal: Terminal,
): void {
  const serves =
    queues === null
      ? 'does not say which queues'
      : `serves ${Object.entries(queues)
          .map(([queue, weight]) => `${queue} (${weight})`)
          .join(', ')}`;
  const use = slots === null ? '' : `, ${inUse} of ${slots} slots in use`;
  const release = version === null ? '' : `, version ${version}`;
  terminal.say(oneLine(`worker ${id} on ${host}, process ${pid}${release}: ${serves}${use}`));
  terminal.say(`  started ${describeTime(startedAt)}, ${alive ? '' : 'not heard of any more: '}last heard of ${describeTime(heardAt)}`);
  for (const task of running) terminal.say(`  runs ${oneLine(`${task.id} ${task.type}`)} since ${describeTime(task.since)}`);
}

function tell(story: TaskStory, terminal: Terminal): void {
  const line = (name: string, value: string | null | undefined) => {
    if (value !== null && value !== undefined) terminal.say(`${name.padEnd(13)} ${oneLine(value)}`);
  };
  const { what, at } = milestone(story);
  const times = new Map([
    ['committed', story.createdAt],
    ['dispatched', story.dispatchedAt],
    [what, at],
  ]);
  line('id', story.id);
  line('type', story.type);
  line('queue', story.queue);
  line('state', `${story.state}: ${story.explanation}`);
  for (const [path, id] of Object.entries(story.concerns)) line('concerns', `${path} ${id}`);
  line('request', story.requestId);
  for (const [name, time] of times) line(name, time && describeTime(time));
  line('failures', `${story.failures} of ${story.options.maxRetry + 1}`);
  line('crashes', String(story.crashes));
  line('progress', story.progress === null ? null : JSON.stringify(story.progress));
  for (const event of story.history) terminal.say(`  ${oneLine(describeEvent(event))}`);
}
