import type { OperatorState, TaskSearch } from '@app/tasks';

/** In the order of a task's life. The engine has the same list; the page carries nothing of the engine but its types. */
export const STATES = ['ready', 'running', 'delayed', 'dead', 'completed'] as const satisfies readonly OperatorState[];

/** The fields of a search that hold a text. */
const TEXTS = ['id', 'type', 'queue', 'error', 'group', 'requestId', 'uniqueKey'] as const;

const AGES: readonly ('olderThan' | 'youngerThan')[] = ['olderThan', 'youngerThan'];

/** Every search has an address, so that it can be sent to a colleague. */
export function searchLink(search: TaskSearch): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) if (value !== undefined && value !== '') query.set(name, String(value));
  // What died of no error that was grouped has a group, too.
  if (search.group === '') query.set('group', '');
  return query.size === 0 ? '/tasks' : `/tasks?${query}`;
}

/** What an address asks for that cannot be read, in a sentence; undefined when all of it can: half of a search would find more than was meant. */
export function misreadOf(query: URLSearchParams): string | undefined {
  const search = searchOf(Object.fromEntries(query));
  for (const [name, value] of query) {
    if (query.getAll(name).length > 1) return `The address asks for "${name}" more than once.`;
    // A field of the form that was left empty asks for nothing.
    if (name !== 'after' && value !== '' && !Object.hasOwn(search, name)) {
      return `The address asks for "${name}=${value}", which is nothing that can be searched for.`;
    }
  }
  return undefined;
}

/** What an address asks for; what cannot be read is left out ({@link misreadOf}). */
export function searchOf(query: Readonly<Record<string, string>>): TaskSearch {
  const search: TaskSearch = {};
  for (const name of TEXTS) {
    const text = query[name]?.trim();
    if (text !== undefined && (text !== '' || name === 'group')) search[name] = text;
  }
  const state = STATES.find((state) => state === query['state']);
  if (state) search.state = state;
  for (const name of AGES) {
    const age = Number(query[name]);
    if (query[name] && Number.isFinite(age) && age > 0) search[name] = age;
  }
  return search;
}
