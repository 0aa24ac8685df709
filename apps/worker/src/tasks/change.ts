import { userInfo } from 'node:os';
import { CANCEL_RESULTS, describeTasks, type Operator, type OperatorState, type TaskActionKind, type TaskAdmin } from '@app/tasks';
import { SingleBar } from 'cli-progress';
import { type Command, Option } from 'commander';
import ms from 'ms';
import { dryRun, type Filter, filterOf, json, parsed, positive, requireFitting, uuid, withFilter } from './options.js';
import type { Session } from './session.js';
import type { Terminal } from './terminal.js';

/** What every one of these commands takes. */
interface Given {
  dryRun?: boolean;
  json?: boolean;
}

/** What an action on tasks is called here, and what it takes. */
interface Verb {
  readonly kind: TaskActionKind;
  readonly name: string;
  readonly description: string;
  /** `redriven`, and what JSON calls that. */
  readonly done: string;
  readonly key: string;
  readonly states: readonly OperatorState[];
  /** Those that are meant where no state is given; absent: all of {@link states}. */
  readonly state?: OperatorState;
  readonly one: (admin: TaskAdmin, id: string, options: { who: Operator; dryRun?: boolean; payload?: unknown }) => Promise<unknown>;
}

const VERBS: readonly Verb[] = [
  {
    kind: 'redrive',
    name: 'redrive',
    description: 'bring dead tasks back: one by its id, or all that match',
    done: 'redriven',
    key: 'Redrive',
    states: ['dead'],
    state: 'dead',
    one: (admin, id, { payload, ...options }) => admin.redriveOne(id, payload, options),
  },
  {
    kind: 'run now',
    name: 'run-now',
    description: 'have delayed tasks run as soon as a slot is free: one by its id, or all that match',
    done: 'told to run now',
    key: 'RunNow',
    states: ['delayed'],
    state: 'delayed',
    one: (admin, id, options) => admin.runNow(id, options),
  },
  {
    kind: 'delete',
    name: 'delete',
    description: 'delete finished tasks: one by its id, or all that match',
    done: 'deleted',
    key: 'Delete',
    states: ['dead', 'completed'],
    state: 'dead',
    one: (admin, id, options) => admin.deleteOne(id, options),
  },
];

/** The commands that change something. */
export function addChangeCommands(program: Command, session: Session): void {
  for (const verb of VERBS) addVerb(program, session, verb);
  addCancel(program, session);
  addMove(program, session);
  addPauseAndResume(program, session);
  addSchedule(program, session);
  addReveal(program, session);
  addStop(program, session);
}

/** Who acts, as it is recorded. */
function operator(): Operator {
  try {
    return `${userInfo().username}, by make tasks`;
  } catch {
    // The system knows no name for this user.
    return 'make tasks';
  }
}

const rateOption = () => new Option('--rate <count>', 'without an id: at most so many a second').argParser(positive);

function addVerb(program: Command, { run, terminal }: Session, verb: Verb): void {
  const command = withFilter(program.command(verb.name).description(verb.description).argument('[id]', 'the id of one task', uuid));
  if (verb.states.length > 1) {
    command.addOption(new Option('--state <state>', `without an id: ${verb.state} ones if not said otherwise`).choices(verb.states));
  }
  command.option('--all', 'every one in that state');
  if (verb.kind === 'redrive') command.option('--payload <json>', 'with an id: the payload to run it with', parsed);
  command
    .addOption(rateOption())
    .addOption(dryRun())
    .addOption(json())
    .action(
      (
        id: string | undefined,
        options: Given & Filter & { all?: boolean; payload?: unknown; rate?: number; state?: OperatorState },
        command: Command,
      ) => {
        requireFitting(command, id, options, { onlyWithId: ['payload'], onlyWithoutId: ['rate', 'state'] });
        const { payload, dryRun } = options;
        return run(async (admin) => {
          const who = operator();
          if (id !== undefined) {
            const isDone = await verb.one(admin, id, { who, dryRun, payload });
            if (isDone === false) {
              return terminal.fail(`there is no finished task ${id}; one that is still to run is cancelled, not deleted`);
            }
            return report(terminal, options, verb, { count: 1, found: 1 }, `the task ${id}`);
          }
          await actOnAll(admin, terminal, options, verb, { ...filterOf(options), state: options.state ?? verb.state });
        });
      },
    );
}

async function actOnAll(
  admin: TaskAdmin,
  terminal: Terminal,
  { rate, ...options }: Given & { rate?: number },
  verb: Pick<Verb, 'kind' | 'done' | 'key'>,
  search: Filter & { state?: OperatorState | undefined },
): Promise<void> {
  const all = await admin.all(verb.kind, search, { dryRun: true });
  const found = all.done + all.refused;
  const { done: count, refused: skipped } =
    options.dryRun || all.done === 0
      ? all
      : await withBar(options.json, found, (onProgress) => admin.all(verb.kind, search, { who: operator(), rate, onProgress }));
  const pace = rate === undefined ? '' : `, at most ${rate} a second: within about ${ms(Math.ceil(count / rate) * 1_000)}`;
  report(terminal, options, verb, { count, found, skipped }, describeTasks(count, search) + (options.dryRun ? pace : ''));
}

function addCancel(program: Command, { run, terminal }: Session): void {
  const verb = { kind: 'cancel', done: 'cancelled', key: 'Cancel' } as const;
  withFilter(
    program
      .command('cancel')
      .description('take tasks out that are ready, delayed or running: one by its id, or all that match')
      .argument('[id]', 'the id of one task', uuid),
  )
    .addOption(new Option('--state <state>', 'without an id: only in this state').choices(['ready', 'delayed', 'running']))
    .option('--all', 'every one that is to run')
    .addOption(rateOption())
    .addOption(dryRun())
    .addOption(json())
    .action(
      (id: string | undefined, options: Given & Filter & { all?: boolean; rate?: number; state?: OperatorState }, command: Command) => {
        requireFitting(command, id, options, { onlyWithoutId: ['rate', 'state'] });
        const { dryRun, json } = options;
        return run(async (admin) => {
          if (id === undefined) return actOnAll(admin, terminal, options, verb, { ...filterOf(options), state: options.state });
          const result = await admin.cancel(id, { dryRun, who: operator() });
          const isDone = result === 'cancelled' || result === 'cancelled while running';
          const meaning = `${id}: ${CANCEL_RESULTS[result]}`;
          if (json) terminal.json(dryRun ? { wouldBe: result } : { result });
          else if (isDone) terminal.say(dryRun ? `Would be ${result}: ${meaning}. Nothing was changed.` : `Is ${result}: ${meaning}.`);
          if (!isDone) terminal.fail(meaning);
        });
      },
    );
}

function addMove(program: Command, { run, terminal }: Session): void {
  program
    .command('move')
    .description('put the tasks of a queue that wait for a worker into another queue')
    .argument('<from>', 'the queue that they are in')
    .argument('<to>', 'a queue that is served')
    .addOption(dryRun())
    .addOption(json())
    .action((from: string, to: string, options: Given) =>
      run(async (admin) => {
        const total = await admin.move(from, to, { dryRun: true });
        const count =
          options.dryRun || total === 0
            ? total
            : await withBar(options.json, total, (onProgress) => admin.move(from, to, { who: operator(), onProgress }));
        const tasks = describeTasks(count, { state: 'pending', queue: from });
        report(terminal, options, { done: 'moved', key: 'Move' }, { count, found: total }, tasks);
      }),
    );
}

function addPauseAndResume(program: Command, { run, terminal }: Session): void {
  const verbs = {
    pause: [
      'let no worker take a task of a queue; running ones finish',
      'is paused: no worker takes a task of it, and running ones finish',
    ],
    resume: ['let the workers take tasks of a queue again', 'is not paused: the workers take its tasks'],
  } as const;
  for (const verb of ['pause', 'resume'] as const) {
    const [description, answer] = verbs[verb];
    program
      .command(verb)
      .description(description)
      .argument('<queue>')
      .addOption(json())
      .action((queue: string, options: Given) =>
        run(async (admin) => {
          await admin[verb](queue, operator());
          if (options.json) terminal.json({ queue, paused: verb === 'pause' });
          else terminal.say(`The queue "${queue}" ${answer}.`);
        }),
      );
  }
}

function addSchedule(program: Command, { run, terminal }: Session): void {
  const verbs = {
    pause: ['pauseSchedule', 'let its ticks pass by until it is resumed'],
    resume: ['resumeSchedule', 'run it again, from its next tick on'],
    'run-now': ['runScheduleNow', 'distribute its task at once, beside its ticks'],
    delete: ['deleteSchedule', 'forget one that nobody declares any more'],
  } as const;
  const schedule = program.command('schedule').description('act on a periodic task');
  for (const [verb, [method, description]] of Object.entries(verbs)) {
    schedule
      .command(verb)
      .description(description)
      .argument('<type>', 'its type')
      .addOption(json())
      .action((type: string, options: Given) =>
        run(async (admin) => {
          const record = await admin[method](type, operator());
          if (options.json) return terminal.json(record);
          terminal.say(`Done: ${record.text}${record.taskId === null ? '' : `; its task is ${record.taskId}`}.`);
        }),
      );
  }
}

function addReveal(program: Command, { run, terminal }: Session): void {
  program
    .command('reveal')
    .description("show a task's payload, without secrets and addresses; that somebody has seen it is recorded")
    .argument('<id>', 'its id', uuid)
    .addOption(json())
    .action((id: string, options: Given) =>
      run(async (admin) => {
        const revealed = await admin.reveal(id, operator());
        if (options.json) return terminal.json(revealed);
        terminal.say(JSON.stringify(revealed.payload, undefined, 2));
        if (revealed.cleaned) terminal.say('Secrets and addresses were taken out.');
      }),
    );
}

function addStop(program: Command, { run, terminal }: Session): void {
  program
    .command('stop')
    .description('end an action on all that match before its end')
    .argument('<action>', 'its number, which actions shows', positive)
    .addOption(json())
    .action((id: number, options: Given) =>
      run(async (admin) => {
        if (!(await admin.action(id))) return terminal.fail(`there is no action ${id}`);
        await admin.stopAction(id, operator());
        const record = await admin.action(id);
        if (options.json) return terminal.json(record);
        terminal.say(`The action ${id} is ${record?.state}: what it has done is done.`);
      }),
    );
}

/** Says what came of it, or with a dry run would; `found` is how many there were before. */
function report(
  terminal: Terminal,
  { dryRun, json }: Given,
  { done, key }: Pick<Verb, 'done' | 'key'>,
  { count, found, skipped = 0 }: { count: number; found: number; skipped?: number },
  tasks: string,
): void {
  if (json) {
    const name = dryRun ? `would${key}` : JSON_DONE[key]!;
    return terminal.json({ [name]: count, ...(skipped > 0 && { [dryRun ? 'wouldSkip' : 'skipped']: skipped }) });
  }
  const nothing = `${dryRun ? 'would be' : 'was'} ${done}.`;
  if (count === 0) terminal.say(found === 0 ? `There is ${tasks}: nothing ${nothing}` : `Nothing ${nothing}`);
  else terminal.say(dryRun ? `Would be ${done}: ${tasks}. Nothing was changed.` : `${done[0]!.toUpperCase()}${done.slice(1)}: ${tasks}.`);
  if (skipped > 0) {
    const keyless = 'whose unique key another task has';
    const why = dryRun ? keyless : key === 'Redrive' ? `${keyless}, or which have changed meanwhile` : 'which have changed meanwhile';
    terminal.say(`${dryRun ? 'Would be skipped' : 'Skipped'}: ${skipped}, ${why}.`);
  }
}

const JSON_DONE: Record<string, string> = {
  Redrive: 'redriven',
  RunNow: 'toldToRun',
  Delete: 'deleted',
  Cancel: 'cancelled',
  Move: 'moved',
};

async function withBar<T>(quiet: boolean | undefined, total: number, work: (onProgress: (done: number) => void) => Promise<T>): Promise<T> {
  const bar = new SingleBar({ stream: process.stderr, noTTYOutput: false, format: '{bar} {value}/{total} tasks, {eta} s left' });
  if (!quiet) bar.start(total, 0);
  try {
    return await work((done) => bar.update(done));
  } finally {
    bar.stop();
  }
}
