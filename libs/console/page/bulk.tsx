import { useEffect, useState } from 'preact/hooks';
import type { ActionRecord, Plan, TaskActionKind, TaskSearch } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { command, Failure } from './client.js';
import { useLive } from './live.js';
import { Action, countText, Dialog, perform, say, sentence } from './parts.js';
import { many, number } from './words.js';

/** The words of the buttons. */
export const VERBS: Readonly<Record<TaskActionKind, string>> = {
  redrive: 'Redrive',
  delete: 'Delete',
  cancel: 'Cancel',
  'run now': 'Run now',
};

export const isDestructive = (kind: TaskActionKind) => kind === 'delete' || kind === 'cancel';

const CONSEQUENCES: Readonly<Record<TaskActionKind, string>> = {
  redrive: 'They begin again, with all of their retries.',
  delete: 'They are gone for good.',
  cancel: 'They will not run; the signal of a handler that runs aborts.',
  'run now': 'They run as soon as a slot is free.',
};

/** How often the progress is asked for, in milliseconds. */
const PROGRESS_AGAIN = 1_000;

interface BulkDialogProps {
  readonly kind: TaskActionKind;
  readonly search: TaskSearch;
  readonly onClose: () => void;
  readonly onBegun: (record: Wire<ActionRecord>) => void;
}

/** An action on all that match: a dry run says how many that are, and only then it can be carried out, on nothing newer. */
export function BulkDialog({ kind, search, onClose, onBegun }: BulkDialogProps) {
  const [plan, setPlan] = useState<Wire<Plan>>();
  const [problem, setProblem] = useState<string>();
  const [rate, setRate] = useState('');
  const key = JSON.stringify(search);
  useEffect(() => {
    let isOver = false;
    setPlan(undefined);
    setProblem(undefined);
    command('plan', { kind, search: JSON.parse(key) as TaskSearch }).then(
      (plan) => !isOver && setPlan(plan),
      (error: Failure) => !isOver && setProblem(error.message),
    );
    return () => void (isOver = true);
  }, [kind, key]);
  const begin = async () => {
    if (!plan) return false;
    const limit = Number(rate);
    try {
      onBegun(await command('carryOut', { token: plan.token, ...(limit > 0 && { rate: limit }) }));
      return true;
    } catch (error) {
      setProblem((error as Failure).message);
      return false;
    }
  };
  const isNothing = plan !== undefined && plan.count.count - plan.skipped <= 0;
  return (
    <Dialog
      title={`${VERBS[kind]} all that match`}
      verb={VERBS[kind]}
      danger={isDestructive(kind)}
      disabled={!plan || isNothing}
      onConfirm={begin}
      onClose={onClose}
    >
      {!plan && !problem && <p>Counting what that would be …</p>}
      {plan && (
        <div class="stack">
          <p>
            <strong>{sentence(plan.text)}</strong> Nothing has been done yet.
          </p>
          <p>
            {plan.count.count === 0
              ? 'No task matches.'
              : `${countText(plan.count)} ${plan.count.count === 1 ? 'task matches' : 'tasks match'}. ${CONSEQUENCES[kind]}`}
            {plan.skipped > 0 && ` ${many(plan.skipped, 'of them is', 'of them are')} skipped, because another task has the unique key.`}
          </p>
          <p class="dim small">Tasks that come to match after this dry run are left alone.</p>
          {(kind === 'redrive' || kind === 'run now') && !isNothing && (
            <label>
              <span class="name">At most so many a second (empty: as fast as can be)</span>
              <input
                type="number"
                min="1"
                max="100000"
                step="1"
                inputMode="numeric"
                value={rate}
                onInput={(event) => setRate(event.currentTarget.value)}
              />
            </label>
          )}
        </div>
      )}
      {problem !== undefined && (
        <p class="problem" role="alert">
          {sentence(problem)}
        </p>
      )}
    </Dialog>
  );
}

/** How far a bulk action is, asked for until it has ended. */
export function Progress({ id, onEnd }: { id: number; onEnd?: () => void }) {
  const [ended, setEnded] = useState(false);
  const { data, refresh } = useLive('action', { id }, ended ? 3_600_000 : PROGRESS_AGAIN);
  const state = data?.state;
  useEffect(() => {
    if (state === undefined || state === 'running') return;
    setEnded(true);
    onEnd?.();
  }, [state]);
  if (!data) return null;
  const stop = async () => {
    if (await perform('stopAction', { id })) refresh();
  };
  const handled = data.done + data.refused;
  return (
    <div class={`notice ${data.state === 'done' ? 'good' : data.state === 'failed' ? 'bad' : ''}`} role="status">
      <div class="row">
        <strong>{sentence(data.text)}</strong>
        <span>{progressText(data)}</span>
        <span class="end">
          {data.state === 'running' && (
            <Action compact onClick={stop}>
              Stop
            </Action>
          )}
        </span>
      </div>
      {data.state === 'running' && data.total > 0 && (
        <progress max={data.total} value={handled} aria-label={`${number(handled)} of ${number(data.total)}`} />
      )}
    </div>
  );
}

/** `120 of 3,000 done, 2 left as they are`. */
export function progressText({ state, total, done, refused, error }: Wire<ActionRecord>): string {
  const parts = [state === 'running' ? `${number(done)} of ${number(Math.max(total, done))} done` : `${number(done)} done`];
  if (refused > 0) parts.push(`${number(refused)} left as they were`);
  if (state !== 'running' && state !== 'done') parts.push(state);
  if (error !== null) parts.push(error);
  return parts.join(', ');
}

/** Tells what came of an action on chosen tasks. */
export function tellResult(
  kind: TaskActionKind,
  { done, refused }: { done: number; refused: readonly { id: string; why: string }[] },
): void {
  if (done > 0) say(`${VERBS[kind]}: ${many(done, 'task')}`);
  for (const { id, why } of refused.slice(0, 3)) say(`${id}: ${why}`, 'bad');
  if (refused.length > 3) say(`${many(refused.length - 3, 'other task')} were left as they were`, 'bad');
}
