import { CANCEL_RESULTS, describeTasks, type TaskFilter } from '@app/tasks';
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

/** The commands that change something: redrive, cancel, delete, move, pause, resume. */
export function addChangeCommands(program: Command, session: Session): void {
  addRedrive(program, session);
  addCancel(program, session);
  addDelete(program, session);
  addMove(program, session);
  addPauseAndResume(program, session);
}

function addRedrive(program: Command, { run, terminal }: Session): void {
  withFilter(
    program
      .command('redrive')
      .description('bring dead tasks back: one by its id, or all that match')
      .argument('[id]', 'the id of one task', uuid),
  )
    .option('--all', 'every dead task')
    .option('--payload <json>', 'with an id: the payload to run it with', parsed)
    .option('--rate <count>', 'without an id: at most so many a second', positive)
    .addOption(dryRun())
    .addOption(json())
    .action((id: string | undefined, options: Given & Filter & { all?: boolean; payload?: unknown; rate?: number }, command: Command) => {
      requireFitting(command, id, options, { onlyWithId: ['payload'], onlyWithoutId: ['rate'] });
      const { payload, rate, dryRun } = options;
      return run(async (admin) => {
        if (id !== undefined) {
          await admin.redriveOne(id, payload, { dryRun });
          return report(terminal, options, 'redrive', { count: 1, found: 1 }, `the task ${id}`);
        }
        const filter = filterOf(options);
        const all = await admin.redrive(filter, { dryRun: true });
        const { redriven: count, skipped } =
          dryRun || all.redriven === 0
            ? all
            : await withBar(options.json, all.redriven + all.skipped, (onProgress) =>
                admin.redrive(filter, { ...(rate !== undefined && { rate }), onProgress }),
              );
        const pace = rate === undefined ? '' : `, at most ${rate} a second: within about ${ms(Math.ceil(count / rate) * 1_000)}`;
        const tasks = describeTasks(count, { ...filter, state: 'dead' }) + (dryRun ? pace : '');
        report(terminal, options, 'redrive', { count, found: all.redriven + all.skipped, skipped }, tasks);
      });
    });
}

function addCancel(program: Command, { run, terminal }: Session): void {
  program
    .command('cancel')
    .description('take a task out that is pending, delayed or running')
    .argument('<id>', 'its id', uuid)
    .addOption(dryRun())
    .addOption(json())
    .action((id: string, { dryRun, json }: Given) =>
      run(async (admin) => {
        const result = await admin.cancel(id, { dryRun });
        const isDone = result === 'cancelled' || result === 'cancelled while running';
        const meaning = `${id}: ${CANCEL_RESULTS[result]}`;
        if (json) terminal.json(dryRun ? { wouldBe: result } : { result });
        else if (isDone) terminal.say(dryRun ? `Would be ${result}: ${meaning}. Nothing was changed.` : `Is ${result}: ${meaning}.`);
        if (!isDone) terminal.fail(meaning);
      }),
    );
}

function addDelete(program: Command, { run, terminal }: Session): void {
  withFilter(
    program
      .command('delete')
      .description('delete finished tasks: one by its id, or all that match')
      .argument('[id]', 'the id of one task', uuid),
  )
    .addOption(new Option('--state <state>', 'without an id: dead ones if not said otherwise').choices(['dead', 'completed']))
    .option('--all', 'every one in that state')
    .addOption(dryRun())
    .addOption(json())
    .action((id: string | undefined, options: Given & TaskFilter & { all?: boolean }, command: Command) => {
      requireFitting(command, id, options, { onlyWithoutId: ['state'] });
      const { dryRun } = options;
      return run(async (admin) => {
        if (id !== undefined) {
          if (await admin.deleteOne(id, { dryRun })) return report(terminal, options, 'delete', { count: 1, found: 1 }, `the task ${id}`);
          return terminal.fail(`there is no finished task ${id}; one that is still to run is cancelled, not deleted`);
        }
        const filter: TaskFilter = { ...filterOf(options), state: options.state ?? 'dead' };
        const total = await admin.delete(filter, { dryRun: true });
        const count =
          dryRun || total === 0 ? total : await withBar(options.json, total, (onProgress) => admin.delete(filter, { onProgress }));
        report(terminal, options, 'delete', { count, found: total }, describeTasks(count, filter));
      });
    });
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
          options.dryRun || total === 0 ? total : await withBar(options.json, total, (onProgress) => admin.move(from, to, { onProgress }));
        report(terminal, options, 'move', { count, found: total }, describeTasks(count, { state: 'pending', queue: from }));
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
          await admin[verb](queue);
          if (options.json) terminal.json({ queue, paused: verb === 'pause' });
          else terminal.say(`The queue "${queue}" ${answer}.`);
        }),
      );
  }
}

const DONE = {
  redrive: ['redriven', 'wouldRedrive', 'Redriven'],
  delete: ['deleted', 'wouldDelete', 'Deleted'],
  move: ['moved', 'wouldMove', 'Moved'],
} as const;

/** Says what came of it, or with a dry run would; `found` is how many there were before. */
function report(
  terminal: Terminal,
  { dryRun, json }: Given,
  verb: keyof typeof DONE,
  { count, found, skipped = 0 }: { count: number; found: number; skipped?: number },
  tasks: string,
): void {
  const [done, would, begin] = DONE[verb];
  if (json) return terminal.json({ [dryRun ? would : done]: count, ...(skipped > 0 && { [dryRun ? 'wouldSkip' : 'skipped']: skipped }) });
  const nothing = `${dryRun ? 'would be' : 'was'} ${done}.`;
  if (count === 0) terminal.say(found === 0 ? `There is ${tasks}: nothing ${nothing}` : `Nothing ${nothing}`);
  else terminal.say(dryRun ? `Would be ${done}: ${tasks}. Nothing was changed.` : `${begin}: ${tasks}.`);
  if (skipped > 0) terminal.say(`${dryRun ? 'Would be skipped' : 'Skipped'}: ${skipped}, whose unique key another task has.`);
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
