import { useEffect, useState } from 'preact/hooks';
import { useLocation } from 'preact-iso/router';
import type { TaskActionKind, TaskRow, TaskSearch } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { BulkDialog, isDestructive, Progress, tellResult, VERBS } from './bulk.js';
import { useLive } from './live.js';
import { Action, Dialog, Empty, Heading, perform, StateBadge, TaskLink, Time, useSession, Waiting } from './parts.js';
import { misreadOf, searchLink, searchOf, STATES } from './search.js';
import { many, timeOfDay } from './words.js';

/** A search that reads task by task is asked again so rarely that it costs less than a hundredth of the time: one of a second, every 150 s. Milliseconds. */
const searchAgain = ({ took }: { took: number }) => Math.min(150_000, Math.max(5_000, took * 150));
/** From which on a list says of when it is, since it is asked for so rarely. Milliseconds. */
const RARELY = 10_000;
const NAMES_AGAIN = 60_000;

const AGES = [
  { value: '', text: 'any' },
  { value: 'younger 300000', text: 'younger than 5 minutes' },
  { value: 'younger 3600000', text: 'younger than an hour' },
  { value: 'younger 86400000', text: 'younger than a day' },
  { value: 'older 3600000', text: 'older than an hour' },
  { value: 'older 86400000', text: 'older than a day' },
  { value: 'older 604800000', text: 'older than a week' },
] as const;

/** Which actions fit tasks of a state. */
const FITTING: Readonly<Record<TaskRow['state'], readonly TaskActionKind[]>> = {
  ready: ['cancel'],
  running: ['cancel'],
  delayed: ['run now', 'cancel'],
  dead: ['redrive', 'delete'],
  completed: ['delete'],
};
const ALL_KINDS = ['redrive', 'run now', 'cancel', 'delete'] as const;

/** Searches the tasks, and acts on those that were chosen, or on all that match. */
export function TasksPage() {
  const { query, url } = useLocation();
  const misread = misreadOf(new URL(url, location.origin).searchParams);
  if (misread === undefined) return <Found query={query} />;
  return (
    <>
      <Heading title="Tasks" />
      <p class="notice bad" role="alert">
        {misread}
      </p>
      <SearchForm search={searchOf(query)} onSame={() => undefined} />
    </>
  );
}

function Found({ query }: { query: Record<string, string> }) {
  const search = searchOf(query);
  const after = query['after'];
  const { data, at, failure, refresh } = useLive('search', { search, ...(after !== undefined && { after }) }, searchAgain);
  const [chosen, setChosen] = useState<ReadonlyMap<string, Wire<TaskRow>>>(new Map());
  const [asked, setAsked] = useState<TaskActionKind>();
  const [begun, setBegun] = useState<readonly number[]>([]);
  const key = searchLink(search);
  useEffect(() => setChosen(new Map()), [key]);
  // What an operator acts on is what the page showed last.
  useEffect(() => {
    if (!data) return;
    setChosen((before) => {
      const seen = new Map(data.tasks.map((task) => [task.id, task]));
      return new Map([...before].map(([id, task]) => [id, seen.get(id) ?? task]));
    });
  }, [data]);
  const isRare = data !== undefined && at !== undefined && searchAgain(data) > RARELY;
  const kinds = search.state === undefined ? ALL_KINDS : FITTING[search.state];
  return (
    <>
      <Heading title="Tasks" />
      <SearchForm key={key} search={search} onSame={refresh} />
      {begun.map((id) => (
        <Progress key={id} id={id} onEnd={refresh} />
      ))}
      <section class="panel" aria-label="Tasks found">
        {!data && <Waiting failure={failure} />}
        {data && (
          <>
            <Bulk
              chosen={chosen}
              kinds={kinds}
              onAskAll={setAsked}
              onDone={() => {
                setChosen(new Map());
                refresh();
              }}
            />
            {data.tasks.length === 0 && data.searchedTo === undefined && <Empty>No task matches.</Empty>}
            {data.tasks.length > 0 && <TaskTable tasks={data.tasks} chosen={chosen} onChoose={setChosen} order={data.order} />}
            {(data.next !== undefined || after !== undefined || data.searchedTo !== undefined || isRare) && (
              <div class="body row">
                {isRare && <span class="dim">As of {timeOfDay(new Date(at).toISOString())}.</span>}
                {data.searchedTo !== undefined && (
                  <span>
                    {data.tasks.length === 0 ? 'Nothing found yet. ' : ''}Searched up to {timeOfDay(data.searchedTo)}.
                  </span>
                )}
                <span class="end row">
                  {after !== undefined && (
                    <a class="button" href={key}>
                      First page
                    </a>
                  )}
                  {data.next !== undefined && (
                    <a class="button" href={`${key}${key.includes('?') ? '&' : '?'}after=${encodeURIComponent(data.next)}`}>
                      {data.searchedTo === undefined ? 'Next page' : 'Go on'}
                    </a>
                  )}
                </span>
              </div>
            )}
          </>
        )}
      </section>
      {asked && (
        <BulkDialog
          kind={asked}
          search={asked === 'redrive' ? { ...search, state: 'dead' } : asked === 'run now' ? { ...search, state: 'delayed' } : search}
          onClose={() => setAsked(undefined)}
          onBegun={({ id }) => {
            setBegun((all) => [id, ...all].slice(0, 5));
            refresh();
          }}
        />
      )}
    </>
  );
}

function SearchForm({ search, onSame }: { search: TaskSearch; onSame: () => void }) {
  const { route, url } = useLocation();
  const { data: names } = useLive('names', {}, NAMES_AGAIN);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget as HTMLFormElement);
    const given = Object.fromEntries([...fields].map(([name, value]) => [name, String(value).trim()]));
    const [relation, age] = (given['age'] ?? '').split(' ');
    const query: Record<string, string> = {
      ...given,
      ...(relation === 'older' && { olderThan: age! }),
      ...(relation === 'younger' && { youngerThan: age! }),
    };
    if (query['group'] === '') delete query['group'];
    const link = searchLink(searchOf(query));
    if (link === url) onSame();
    else route(link);
  };
  const age =
    search.olderThan !== undefined ? `older ${search.olderThan}` : search.youngerThan !== undefined ? `younger ${search.youngerThan}` : '';
  const text = (name: 'id' | 'error' | 'requestId' | 'uniqueKey' | 'group', label: string) => (
    <label>
      <span class="name">{label}</span>
      <input name={name} defaultValue={search[name] ?? ''} maxLength={1_000} spellcheck={false} autocomplete="off" />
    </label>
  );
  const choice = (name: 'type' | 'queue', label: string, all: readonly string[]) => (
    <label>
      <span class="name">{label}</span>
      <input name={name} list={`all-${name}`} defaultValue={search[name] ?? ''} maxLength={1_000} spellcheck={false} autocomplete="off" />
      <datalist id={`all-${name}`}>
        {all.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
    </label>
  );
  return (
    <form class="panel" role="search" onSubmit={submit}>
      <div class="body filters">
        {text('id', 'Id')}
        <label>
          <span class="name">State</span>
          <select name="state" defaultValue={search.state ?? ''}>
            <option value="">any</option>
            {STATES.map((state) => (
              <option key={state} value={state} selected={state === search.state}>
                {state}
              </option>
            ))}
          </select>
        </label>
        {choice('type', 'Type', names?.types ?? [])}
        {choice('queue', 'Queue', names?.queues ?? [])}
        {text('error', 'Error contains')}
        <label>
          <span class="name">Age</span>
          <select name="age" defaultValue={age}>
            {AGES.map(({ value, text }) => (
              <option key={value} value={value} selected={value === age}>
                {text}
              </option>
            ))}
            {age !== '' && !AGES.some(({ value }) => value === age) && (
              <option value={age} selected>
                {age.replace(' ', ' than ')} ms
              </option>
            )}
          </select>
        </label>
        {text('requestId', 'Request id')}
        {text('uniqueKey', 'Unique key')}
        {search.group !== undefined && text('group', 'Error group')}
        <div class="row">
          <button class="primary">Search</button>
          <a class="button" href="/tasks">
            Clear
          </a>
        </div>
      </div>
    </form>
  );
}

interface BulkProps {
  readonly chosen: ReadonlyMap<string, Wire<TaskRow>>;
  readonly kinds: readonly TaskActionKind[];
  readonly onAskAll: (kind: TaskActionKind) => void;
  readonly onDone: () => void;
}

/** The buttons above the list: for the chosen tasks, or where none is, for all that match. */
function Bulk({ chosen, kinds, onAskAll, onDone }: BulkProps) {
  const { readOnly } = useSession();
  // As they were when the question was put: what changes meanwhile is told of.
  const [confirming, setConfirming] = useState<{ kind: TaskActionKind; tasks: readonly Wire<TaskRow>[] }>();
  if (readOnly) return null;
  const fitting = (kind: TaskActionKind) => [...chosen.values()].filter(({ state }) => FITTING[state].includes(kind));
  const act = async (kind: TaskActionKind, tasks: readonly Wire<TaskRow>[]) => {
    const result = await perform('act', { kind, tasks: tasks.map(({ id, seen }) => ({ id, seen })) });
    if (!result) return false;
    tellResult(kind, result);
    onDone();
    return true;
  };
  return (
    <header>
      <span class="dim small">{chosen.size > 0 ? `${many(chosen.size, 'task')} chosen` : 'All that match:'}</span>
      {chosen.size > 0
        ? ALL_KINDS.filter((kind) => fitting(kind).length > 0).map((kind) => (
            <Action
              key={kind}
              compact
              kind={isDestructive(kind) ? 'danger' : undefined}
              onClick={() => (isDestructive(kind) ? setConfirming({ kind, tasks: fitting(kind) }) : act(kind, fitting(kind)))}
            >
              {VERBS[kind]} {many(fitting(kind).length, 'task')}
            </Action>
          ))
        : kinds.map((kind) => (
            <Action key={kind} compact kind={isDestructive(kind) ? 'danger' : undefined} onClick={() => onAskAll(kind)}>
              {VERBS[kind]} all
            </Action>
          ))}
      {confirming && (
        <Dialog
          title={`${VERBS[confirming.kind]} ${many(confirming.tasks.length, 'task')}`}
          verb={VERBS[confirming.kind]}
          danger
          onConfirm={() => act(confirming.kind, confirming.tasks)}
          onClose={() => setConfirming(undefined)}
        >
          <p>{confirming.kind === 'delete' ? 'They are gone for good.' : 'They will not run; the signal of a handler that runs aborts.'}</p>
        </Dialog>
      )}
    </header>
  );
}

interface TaskTableProps {
  readonly tasks: readonly Wire<TaskRow>[];
  readonly chosen: ReadonlyMap<string, Wire<TaskRow>>;
  readonly onChoose: (chosen: ReadonlyMap<string, Wire<TaskRow>>) => void;
  readonly order: 'ended' | 'runs' | 'created';
}

function TaskTable({ tasks, chosen, onChoose, order }: TaskTableProps) {
  const { readOnly } = useSession();
  const canChoose = !readOnly;
  const areAll = tasks.every(({ id }) => chosen.has(id));
  const choose = (some: readonly Wire<TaskRow>[], isChosen: boolean) => {
    const next = new Map(chosen);
    for (const task of some) {
      if (isChosen) next.set(task.id, task);
      else next.delete(task.id);
    }
    onChoose(next);
  };
  const when = { ended: 'Ended', runs: 'Runs', created: 'When' }[order];
  return (
    <div class="scroll">
      <table class="list">
        <thead>
          <tr>
            {canChoose && (
              <th>
                <input
                  type="checkbox"
                  aria-label="Choose all on this page"
                  checked={areAll}
                  onChange={(event) => choose(tasks, event.currentTarget.checked)}
                />
              </th>
            )}
            <th>State</th>
            <th>Task</th>
            <th>Queue</th>
            <th>{when}</th>
            <th class="number">Failures</th>
            <th>Last error</th>
          </tr>
        </thead>
        <tbody>
          {tasks.map((task) => (
            <tr key={task.id}>
              {canChoose && (
                <td>
                  <input
                    type="checkbox"
                    aria-label={`Choose ${task.id}`}
                    checked={chosen.has(task.id)}
                    onChange={(event) => choose([task], event.currentTarget.checked)}
                  />
                </td>
              )}
              <td>
                <StateBadge state={task.state} />
              </td>
              <td>
                <TaskLink id={task.id}>{task.type}</TaskLink>
                <div class="mono dim small id">{task.id}</div>
              </td>
              <td data-name="Queue">{task.queue}</td>
              <td data-name={when} class="nowrap">
                <Milestone task={task} />
              </td>
              <td data-name="Failures" class="number">
                {task.failures}
                <span class="dim"> of {task.maxAttempts}</span>
                {task.crashes > 0 && <span class="text-dead"> · {many(task.crashes, 'crash', 'crashes')}</span>}
              </td>
              <td>
                <span class="clamp error">
                  {task.reason !== null && <span class="dim">{task.reason}: </span>}
                  {task.error}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Milestone({ task }: { task: Wire<TaskRow> }) {
  if (task.state === 'dead' || task.state === 'completed')
    return (
      <>
        {task.state === 'dead' ? 'died' : 'completed'} <Time at={task.finishedAt ?? task.runAt} />
      </>
    );
  if (task.state === 'running')
    return (
      <>
        running since <Time at={task.runningSince ?? task.runAt} />
      </>
    );
  return (
    <>
      {task.state === 'ready' ? 'due' : 'runs'} <Time at={task.runAt} />
    </>
  );
}
