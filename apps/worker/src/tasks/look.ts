import {
  describeEvent,
  describeTasks,
  describeTime,
  type ListedTask,
  milestone,
  type TaskFilter,
  type TaskStory,
  type WorkerView,
} from '@app/tasks';
import { type Command, Option } from 'commander';
import ms from 'ms';
import type { Session } from './session.js';
import { filterOf, json, positive, uuid, withFilter } from './options.js';
import { type Column, oneLine, table, type Terminal } from './terminal.js';

const STATES = ['pending', 'dispatched', 'dead', 'completed'] as const;

const QUEUE: Column = { head: 'queue', width: 36 };
const figures = (...heads: string[]): Column[] => heads.map((head) => ({ head, width: 8, align: 'right' }));
const LATENCY: Column = { head: 'latency', width: 8, align: 'right' };

/** The commands that only look: queues, stats, workers, list, show. */
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
