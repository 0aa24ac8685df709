import { useState } from 'preact/hooks';
import type { RevealedPayload, TaskActionKind, TaskPage, TimelineEntry } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { isDestructive, tellResult, VERBS } from './bulk.js';
import { command, type Failure } from './client.js';
import { useLive } from './live.js';
import { Action, Dialog, Empty, Heading, perform, SearchLink, sentence, StateBadge, Time, useSession, Waiting } from './parts.js';
import { duration, many, timeOfDay } from './words.js';

const TASK_AGAIN = 3_000;

/** The colour of an entry of the timeline. */
const COLOURS: Readonly<Record<TimelineEntry['kind'], string>> = {
  distributed: 'ready',
  dispatched: 'ready',
  running: 'running',
  failed: 'delayed',
  crashed: 'dead',
  'put off': 'delayed',
  buried: 'dead',
  completed: 'running',
  operator: 'ready',
  lost: 'delayed',
  next: 'next',
  other: '',
};

/** One task, with its whole story. */
export function TaskStoryPage({ id = '' }: { id?: string }) {
  const { data: task, failure, refresh } = useLive('task', { id }, TASK_AGAIN);
  if (task === undefined)
    return (
      <>
        <Heading title="Task" />
        <Waiting failure={failure} />
      </>
    );
  if (task === null)
    return (
      <>
        <Heading title="Task" />
        <Empty>
          The ledger has no task <code>{id}</code>: it is done, was cancelled or deleted, or never was.
        </Empty>
      </>
    );
  return <Story task={task} refresh={refresh} />;
}

function Story({ task, refresh }: { task: Wire<TaskPage>; refresh: () => void }) {
  /** What is asked about, and the task as it was seen then: it may change while the dialog is open. */
  const [confirming, setConfirming] = useState<{ kind: TaskActionKind; seen: string }>();
  const [payload, setPayload] = useState<Wire<RevealedPayload>>();
  /** As it was seen when the payload was shown that is edited. */
  const [editing, setEditing] = useState<{ payload: Wire<RevealedPayload>; seen: string }>();
  const act = async (kind: TaskActionKind, seen: string) => {
    const result = await perform('act', { kind, tasks: [{ id: task.id, seen }] });
    if (result) tellResult(kind, result);
    refresh();
    return true;
  };
  const reveal = async () => {
    const revealed = await perform('reveal', { id: task.id });
    if (revealed) setPayload(revealed);
    return revealed;
  };
  const edit = async () => {
    const { seen } = task;
    // Anew: what was shown before may be another's by now.
    const payload = await reveal();
    if (payload) setEditing({ payload, seen });
  };
  return (
    <>
      <Heading title={task.type}>
        <StateBadge state={task.state} />
        <code class="dim">{task.id}</code>
        <span class="end row">
          {task.actions.map((kind) => (
            <Action
              key={kind}
              kind={isDestructive(kind) ? 'danger' : 'primary'}
              onClick={() => (isDestructive(kind) ? setConfirming({ kind, seen: task.seen }) : act(kind, task.seen))}
            >
              {VERBS[kind]}
            </Action>
          ))}
          {task.actions.includes('redrive') && task.known && <Action onClick={edit}>Redrive with another payload</Action>}
        </span>
      </Heading>
      <p class={`notice ${task.state === 'dead' ? 'bad' : task.state === 'completed' ? 'good' : ''}`}>{sentence(task.explanation)}</p>
      {task.error !== null && !task.timeline.some(({ error }) => error !== undefined) && <p class="notice">{task.error}</p>}
      <div class="task">
        <section class="panel" aria-labelledby="story">
          <header>
            <h2 id="story">Story</h2>
          </header>
          <ol class="body timeline">
            {task.timeline.map((entry, index) => (
              <Entry key={index} entry={entry} />
            ))}
          </ol>
        </section>
        <div class="stack">
          <Facts task={task} />
          <Payload task={task} payload={payload} onReveal={reveal} />
          {task.progress !== null && task.progress !== undefined && <Value name="Progress" value={task.progress} />}
          {task.state === 'completed' && <Value name="Result" value={task.result} />}
        </div>
      </div>
      {confirming && (
        <Dialog
          title={`${VERBS[confirming.kind]} this task`}
          verb={VERBS[confirming.kind]}
          danger
          onConfirm={() => act(confirming.kind, confirming.seen)}
          onClose={() => setConfirming(undefined)}
        >
          <p>{confirming.kind === 'delete' ? 'It is gone for good.' : 'It will not run; where a handler runs it, its signal aborts.'}</p>
        </Dialog>
      )}
      {editing && <Editor id={task.id} {...editing} onClose={() => setEditing(undefined)} onDone={refresh} />}
    </>
  );
}

function Entry({ entry }: { entry: Wire<TimelineEntry> }) {
  return (
    <li class={COLOURS[entry.kind]}>
      <div class="row">
        <strong>{sentence(entry.what).replace(/\.$/, '')}</strong>
        {entry.attempt !== undefined && <span class="badge">attempt {entry.attempt}</span>}
        <span class="dim small" title={timeOfDay(entry.at)}>
          {timeOfDay(entry.at)} · <Time at={entry.at} />
        </span>
      </div>
      {entry.error !== undefined && <p class="error">{entry.error}</p>}
      {entry.next !== undefined && (
        <p class="dim small">
          Next at {timeOfDay(entry.next)}, <Time at={entry.next} />.
        </p>
      )}
      {entry.stack !== undefined && (
        <details>
          <summary>Stack</summary>
          <pre tabIndex={0}>{entry.stack}</pre>
        </details>
      )}
    </li>
  );
}

function Facts({ task }: { task: Wire<TaskPage> }) {
  const { options } = task;
  const facts: [name: string, value: preact.ComponentChildren][] = [
    ['Queue', <SearchLink search={{ queue: task.queue }}>{task.queue}</SearchLink>],
    ['Failures', `${task.failures} of ${many(task.maxAttempts, 'attempt')}`],
    ['Crashes', String(task.crashes)],
    ['Distributed', <Time at={task.createdAt} />],
    ['Timeout', duration(options.timeout)],
  ];
  if (options.deadline !== undefined) facts.push(['Deadline', <Time at={options.deadline} />]);
  if (options.retention) facts.push(['Kept for', duration(options.retention)]);
  if (task.keepUntil !== null) facts.push(['Kept until', <Time at={task.keepUntil} />]);
  if (options.backoff) facts.push(['Backoff', backoffText(options.backoff)]);
  if (task.uniqueKey !== null) facts.push(['Unique key', <SearchLink search={{ uniqueKey: task.uniqueKey }}>{task.uniqueKey}</SearchLink>]);
  if (task.uniqueUntil !== null) facts.push(['Key taken until', <Time at={task.uniqueUntil} />]);
  if (task.requestId !== null) facts.push(['Request', <SearchLink search={{ requestId: task.requestId }}>{task.requestId}</SearchLink>]);
  if (task.quarantined) facts.push(['Quarantine', 'it has lost a worker, and runs by itself']);
  for (const [path, id] of Object.entries(task.concerns)) facts.push([`Concerns ${path}`, <code>{id}</code>]);
  return (
    <section class="panel" aria-labelledby="facts">
      <header>
        <h2 id="facts">Options</h2>
      </header>
      <dl class="body facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function backoffText(backoff: NonNullable<Wire<TaskPage>['options']['backoff']>): string {
  const { type, delay, max } = backoff as { type: string; delay: number; max?: number };
  return `${type}, ${duration(delay)}${max === undefined ? '' : `, at most ${duration(max)}`}`;
}

function json(value: unknown): string {
  return JSON.stringify(value, undefined, 2) ?? 'nothing';
}

function Value({ name, value }: { name: string; value: unknown }) {
  return (
    <section class="panel" aria-label={name}>
      <header>
        <h2>{name}</h2>
      </header>
      <div class="body">
        <pre tabIndex={0}>{json(value)}</pre>
      </div>
    </section>
  );
}

function Payload({
  task,
  payload,
  onReveal,
}: {
  task: Wire<TaskPage>;
  payload: Wire<RevealedPayload> | undefined;
  onReveal: () => unknown;
}) {
  const { readOnly } = useSession();
  return (
    <section class="panel" aria-labelledby="payload">
      <header>
        <h2 id="payload">Payload</h2>
        <span class="dim small">version {task.version}</span>
        <span class="end">
          {!payload && (
            <Action compact onClick={onReveal}>
              Reveal
            </Action>
          )}
        </span>
      </header>
      <div class="body stack">
        <pre tabIndex={0}>{json(payload ? payload.payload : task.payloadShape)}</pre>
        <p class="dim small">
          {payload
            ? `That you have seen it is recorded.${payload.cleaned ? ' Secrets and addresses were taken out.' : ''}`
            : `Its values are hidden.${readOnly ? '' : ' That somebody reveals them is recorded.'}`}
        </p>
      </div>
    </section>
  );
}

interface EditorProps {
  readonly id: string;
  readonly seen: string;
  readonly payload: Wire<RevealedPayload>;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

/** Brings a dead task back with another payload, once that fits. */
function Editor({ id, seen, payload, onClose, onDone }: EditorProps) {
  const { who } = useSession();
  const [text, setText] = useState(json(payload.payload));
  const [problem, setProblem] = useState<string>();
  const send = async () => {
    let edited: unknown;
    try {
      edited = JSON.parse(text);
    } catch (error) {
      setProblem(`This is no JSON: ${(error as SyntaxError).message}`);
      return false;
    }
    try {
      const { problem } = await command('checkPayload', { id, payload: edited });
      if (problem !== null) {
        setProblem(problem);
        return false;
      }
      const result = await command('act', { kind: 'redrive', tasks: [{ id, seen }], payload: edited });
      tellResult('redrive', result);
      onDone();
      return true;
    } catch (error) {
      setProblem((error as Failure).message);
      return false;
    }
  };
  return (
    <Dialog title="Redrive with another payload" verb="Redrive" onConfirm={send} onClose={onClose}>
      {payload.cleaned && <p class="notice">Secrets and addresses were taken out of what you see: put them back before it is sent.</p>}
      <label>
        <span class="name">Payload, as JSON; it is checked before it is sent</span>
        <textarea rows={12} value={text} spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      {problem !== undefined && (
        <p class="problem" role="alert">
          {sentence(problem)}
        </p>
      )}
      <p class="dim small">Recorded as done by {who}.</p>
    </Dialog>
  );
}
