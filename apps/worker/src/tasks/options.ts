import type { TaskFilter } from '@app/tasks';
import { type Command, InvalidArgumentError, Option } from 'commander';
import ms, { type StringValue } from 'ms';

const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d|w|y)?$/;

export const json = () => new Option('--json', 'print JSON');
export const dryRun = () => new Option('--dry-run', 'only say what would come of it');

export function uuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new InvalidArgumentError('must be the id of a task, a UUID');
  return text;
}

export function duration(text: string): number {
  if (!DURATION.test(text)) throw new InvalidArgumentError('must be a duration such as 10m or 2h');
  return ms(text as StringValue);
}

export function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return value;
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('must be JSON');
  }
}

/** The next option, taken for a text because the text was forgotten, would otherwise be without effect. */
export function words(text: string): string {
  if (text === '' || text.startsWith('--')) throw new InvalidArgumentError('must be a text that is not empty and does not begin with --');
  return text;
}

export type Filter = Omit<TaskFilter, 'state'>;

export function withFilter(command: Command): Command {
  return command
    .option('--type <type>', 'of this type', words)
    .option('--queue <queue>', 'of this queue', words)
    .option('--error <text>', 'whose last error contains this text', words)
    .option('--older-than <duration>', 'finished, or else committed, so long ago', duration);
}

export function filterOf({ type, queue, error, olderThan }: Filter): Filter {
  return { type, queue, error, olderThan };
}

/** An option that is given twice would be heard once. */
export function refuseRepetition(command: Command): void {
  for (const option of command.options.filter(({ required, optional }) => required || optional)) {
    let isGiven = false;
    command.on(`option:${option.name()}`, () => {
      if (isGiven) command.error(`error: ${option.long} is given twice`);
      isGiven = true;
    });
  }
}

/** Of a command for one task or for many: refuses the options that the chosen form would not heed. */
export function requireFitting(
  command: Command,
  id: string | undefined,
  options: Filter & { all?: boolean },
  forms: { onlyWithId?: readonly string[]; onlyWithoutId?: readonly string[] },
): void {
  const given = (names: readonly string[] = []) =>
    command.options.filter(
      (option) => names.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
    );
  const list = (found: readonly Option[]) => found.map(({ long }) => long).join(', ');
  const hasFilter = Object.values(filterOf(options)).some((value) => value !== undefined);
  if (id !== undefined) {
    const foreign = given(['type', 'queue', 'error', 'olderThan', 'all', ...(forms.onlyWithoutId ?? [])]);
    if (foreign.length > 0) command.error(`error: ${list(foreign)} cannot go with the id of one task`);
    return;
  }
  const foreign = given(forms.onlyWithId);
  if (foreign.length > 0) command.error(`error: ${list(foreign)} needs the id of one task`);
  if (options.all && hasFilter) command.error('error: --all means every one, and a filter some: give one of them');
  if (!options.all && !hasFilter) command.error('error: give an id, a filter, or --all');
}
