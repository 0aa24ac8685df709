import {
  type Count,
  describeEvent,
  describeTasks,
  describeTime,
  milestone,
  OPERATOR_STATES,
  type QueueView,
  type ScheduleView,
  type Series,
  type TaskPage,
  type TaskRow,
  type TaskSearch,
  type WorkerView,
} from '@app/tasks';
import { type Command, Option } from 'commander';
import ms from 'ms';
import type { Session } from './session.js';
import { duration, type Filter, filterOf, json, positive, uuid, withFilter, words } from './options.js';
import { type Column, oneLine, table, type Terminal } from './terminal.js';

const QUEUE: Column = { head: 'queue', width: 36 };
const figures = (...heads: string[]): Column[] => heads.map((head) => ({ head, width: 8, align: 'right' }));
const LATENCY: Column = { head: 'latency', width: 8, align: 'right' };

/** The commands that only look. */
export function addLookCommands(program: Command, { run, terminal }: Session): void {
  program
    .command('queues')
    .description('every queue, with what is in it')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const { queues } = await admin.overview();
        if (options.json) return terminal.json(queues);
        terminal.say(queueTable(queues));
      }),
    );

  program
    .command('stats')
    .description('how many tasks there are to run and dead, and the latency of the queues')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const { queues } = await admin.overview();
        const states = ['ready', 'running', 'delayed', 'dead'] as const;
        const tasks = states.map((state) => {
          const counts = queues.map((queue) => queue[state]);
          return [state, { count: counts.reduce((sum, { count }) => sum + count, 0), exact: counts.every(({ exact }) => exact) }] as const;
        });
        const latencies = queues.map(({ queue, latency }) => [queue, latency] as const);
        if (options.json) return terminal.json({ tasks: Object.fromEntries(tasks), latencyMs: Object.fromEntries(latencies) });
        const rows = tasks.map(([state, count]) => [state, figure(count)]);
        terminal.say(table([{ head: 'state', width: 36 }, ...figures('tasks')], rows));
        terminal.say('');
        terminal.say(
          table(
            [QUEUE, LATENCY],
            latencies.map(([queue, latency]) => [oneLine(queue), ms(latency)]),
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
        terminal.say(queueTable(overview.queues));
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

  withFilter(program.command('list').description('tasks, those first that ended, run or were made last, or run next'))
    .option('--id <id>', 'of this id', uuid)
    .addOption(new Option('--state <state>', 'in this state').choices(OPERATOR_STATES))
    .option('--group <error>', 'that died of this error, as dead shows it', words)
    .option('--younger-than <duration>', 'finished, or else committed, not longer ago', duration)
    .option('--request <id>', 'that this request distributed', words)
    .option('--unique-key <key>', 'that has this key, or had it when it died', words)
    .option('--limit <count>', 'how many, up to 200', positive, 50)
    .option('--after <page>', 'from where the page before ended', words)
    .addOption(json())
    .action((options: Filter & TaskSearch & { request?: string; limit: number; after?: string; json?: boolean }) =>
      run(async (admin) => {
        const { id, state, group, youngerThan, request: requestId, uniqueKey, limit, after } = options;
        const search: TaskSearch = { ...filterOf(options), id, state, group, youngerThan, requestId, uniqueKey };
        await admin.requireKnown(search);
        const page = await admin.search(search, { limit, after });
        if (options.json) return terminal.json(page);
        if (page.tasks.length > 0) terminal.say(taskTable(page.tasks));
        if (page.searchedTo) terminal.say(`The search has come to ${describeTime(page.searchedTo)}.`);
        if (page.next !== undefined) terminal.say(`There may be more: --after ${page.next}`);
        else if (page.tasks.length === 0) terminal.say(`There is ${describeTasks(0, search)}.`);
      }),
    );

  program
    .command('show')
    .description('the whole story of one task')
    .argument('<id>', 'its id', uuid)
    .addOption(json())
    .action((id: string, options: { json?: boolean }) =>
      run(async (admin) => {
        const story = await admin.page(id);
        if (!story) return terminal.fail(`there is no task ${id} in the ledger: it is done, was cancelled, or never was`);
        if (options.json) return terminal.json(story);
        tell(story, terminal);
      }),
    );

  program
    .command('schedules')
    .description('every periodic task, with its next and last runs')
    .addOption(json())
    .action((options: { json?: boolean }) =>
      run(async (admin) => {
        const schedules = await admin.listSchedules();
        if (options.json) return terminal.json(schedules);
        if (schedules.length === 0) return terminal.say('No task runs by itself.');
        for (const schedule of schedules) tellSchedule(schedule, terminal);
      }),
    );

  program
    .command('actions')
    .description('what operators have done, the newest first')
    .option('--limit <count>', 'how many, up to 200', positive, 50)
    .option('--before <action>', 'before this one', positive)
    .addOption(json())
    .action((options: { limit: number; before?: number; json?: boolean }) =>
      run(async (admin) => {
        const actions = await admin.listActions(options);
        if (options.json) return terminal.json(actions);
        if (actions.length === 0) return terminal.say('Nobody has done anything.');
        for (const { id, at, who, text, state, done, total, refused, error } of actions) {
          terminal.say(oneLine(`${id} ${describeTime(at)} ${who}: ${text}`));
          const left = refused === 0 ? '' : `, ${refused} left as they were`;
          terminal.say(`  ${oneLine(`${state}: ${done} of ${total}${left}${error === null ? '' : `: ${error}`}`)}`);
        }
      }),
    );
}

function queueTable(queues: readonly QueueView[]): string {
  return table(
    [QUEUE, ...figures('weight', 'paused', 'ready', 'running', 'delayed', 'dead'), LATENCY],
    queues.map(({ queue, weight, paused, ready, running, delayed, dead, latency }) => [
      oneLine(queue),
      weight === 0 ? 'none' : weight,
      paused ? 'yes' : 'no',
      ...[ready, running, delayed, dead].map(figure),
      ms(latency),
    ]),
  );
}

/** Two lines a task, since an id, a type and a time fill one. */
function taskTable(tasks: readonly TaskRow[]): string {
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

/** `3`, or where it was not counted to the end `~250000`, or `>10000`. */
function figure({ count, exact, more }: Count): string {
  return `${more ? '>' : exact ? '' : '~'}${count}`;
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

function tellSchedule({ type, cron, timezone, words, declared, pausedAt, next, ticks, late }: ScheduleView, terminal: Terminal): void {
  terminal.say(oneLine(`${type}: ${words} (${cron} ${timezone})`));
  if (!declared) terminal.say('  no worker declares it any more');
  if (pausedAt) terminal.say(`  paused since ${describeTime(pausedAt)}`);
  if (late) terminal.say('  late: its time has passed, and nobody has run it');
  for (const at of next.slice(0, 1)) terminal.say(`  next run ${describeTime(at)}`);
  for (const { due, what, taskId } of ticks) terminal.say(`  ${describeTime(due)} ${what}${taskId === null ? '' : ` ${taskId}`}`);
}

function tell(story: TaskPage, terminal: Terminal): void {
  const line = (name: string, value: string | null | undefined) => {
    if (value !== null && value !== undefined) terminal.say(`${name.padEnd(13)} ${oneLine(value)}`);
  };
  const { what, at } = milestone(story);
  line('id', story.id);
  line('type', story.type);
  line('queue', story.queue);
  line('state', `${story.state}: ${story.explanation}`);
  for (const [path, id] of Object.entries(story.concerns)) line('concerns', `${path} ${id}`);
  line('request', story.requestId);
  line('unique key', story.uniqueKey);
  line('committed', describeTime(story.createdAt));
  line(what, describeTime(at));
  line('failures', `${story.failures} of ${story.maxAttempts}`);
  line('crashes', String(story.crashes));
  line('progress', story.progress === null ? null : JSON.stringify(story.progress));
  line('result', story.result === null ? null : JSON.stringify(story.result));
  line('can be', story.actions.join(', '));
  for (const event of story.timeline) terminal.say(`  ${oneLine(describeEvent(event))}`);
}
