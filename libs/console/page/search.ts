import type { OperatorState, TaskSearch } from '@app/tasks';

/** In the order of a task's life. The engine has the same list; the page carries nothing of the engine but its types. */
export const STATES = ['ready', 'running', 'delayed', 'dead', 'completed'] as const satisfies readonly OperatorState[];

/** The fields of a search that hold a text. */
const TEXTS = ['id', 'type', 'queue', 'error', 'group', 'requestId', 'uniqueKey'] as const;

/** Every search has an address, so that it can be sent to a colleague. */
export function searchLink(search: TaskSearch): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) if (value !== undefined && value !== '') query.set(name, String(value));
  // What died of no error that was grouped has a group, too.
  if (search.group === '') query.set('group', '');
  return query.size === 0 ? '/tasks' : `/tasks?${query}`;
}

/** What an address asks for; what is none of a search's fields is left out. */
export function searchOf(query: Readonly<Record<string, string>>): TaskSearch {
  const search: TaskSearch = {};
  for (const name of TEXTS) {
    const text = query[name]?.trim();
    if (text !== undefined && (text !== '' || name === 'group')) search[name] = text;
  }
  const state = STATES.find((state) => state === query['state']);
  if (state) search.state = state;
  for (const name of ['olderThan', 'youngerThan'] as const) {
    const age = Number(query[name]);
    if (query[name] && Number.isFinite(age) && age > 0) search[name] = age;
  }
  return search;
}
