import { type ComponentChildren, createContext } from 'preact';
import { useContext, useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Count, OperatorState, TaskSearch } from '@app/tasks';
import { command, Failure } from './client.js';
import type { Commands, SessionView, Wire } from '../src/api.js';
import { searchLink } from './search.js';
import { distance, number, timeOfDay } from './words.js';

/** Who looks at the page. */
export const SessionContext = createContext<SessionView>({ who: '', readOnly: true });
export const useSession = () => useContext(SessionContext);

/** Sets the document's title. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Waybill console`;
  }, [title]);
}

/** Gives the page the focus. */
export function focusPage(): void {
  document.getElementById('main')?.focus({ preventScroll: true });
}

/** A time, as its distance from now; the time itself is its title. */
export function Time({ at }: { at: string }) {
  return (
    <time dateTime={at} title={timeOfDay(at)} class="nowrap">
      {distance(at)}
    </time>
  );
}

/** `9,876`, or `≈ 1.2M` where it is an estimate. */
export function countText({ count, exact, more }: Wire<Count>): string {
  return `${more ? '>\u00A0' : exact ? '' : '≈\u00A0'}${number(count)}`;
}

export function StateBadge({ state }: { state: OperatorState }) {
  return <span class={`badge ${state}`}>{state}</span>;
}

/** A link to the tasks that match. */
export function SearchLink({ search, children, ...rest }: { search: TaskSearch; children: ComponentChildren; class?: string }) {
  return (
    <a href={searchLink(search)} {...rest}>
      {children}
    </a>
  );
}

/** A link to a task's own page. */
export function TaskLink({ id, children }: { id: string; children: ComponentChildren }) {
  return (
    <a class="mono" href={`/tasks/${id}`}>
      {children}
    </a>
  );
}

/** The head of a page. */
export function Heading({ title, children }: { title: string; children?: ComponentChildren }) {
  useTitle(title);
  return (
    <div class="heading">
      <h1>{title}</h1>
      {children}
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** What stands where the first answer has not come yet, or never will. */
export function Waiting({ failure }: { failure: Failure | undefined }) {
  if (!failure) return <p class="empty">Loading …</p>;
  return (
    <p class="empty problem" role="alert">
      {sentence(failure.message)}
    </p>
  );
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`;
}

// --- What has just been done ----------------------------------------------------------------------------------------

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: 'good' | 'bad';
}

let toasts: readonly Toast[] = [];
let showToasts: (all: readonly Toast[]) => void = () => undefined;
let toastIds = 0;
/** How many stand at once, and for how many milliseconds a good one does. */
const MAX_TOASTS = 4;
const TOAST_TIME = 8_000;

function dismiss(id: number): void {
  toasts = toasts.filter((each) => each.id !== id);
  showToasts(toasts);
}

/** Tells, in a corner, what came of an action. */
export function say(text: string, kind: Toast['kind'] = 'good'): void {
  const id = (toastIds += 1);
  toasts = [...toasts, { id, text: sentence(text), kind }].slice(-MAX_TOASTS);
  showToasts(toasts);
  if (kind === 'good') setTimeout(() => dismiss(id), TOAST_TIME);
}

export function Toasts() {
  const [shown, setShown] = useState(toasts);
  showToasts = setShown;
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.map(({ id, text, kind }) => (
        <div key={id} class={`notice ${kind}`}>
          <span>{text}</span>
          <button class="plain end" aria-label="Dismiss" onClick={() => dismiss(id)}>
            ✕
          </button>
        </div>
      ))}
    </div>
  );
}

/** Has the server do something, and tells when it does not. @returns undefined when it did not. */
export async function perform<Name extends keyof Commands>(
  name: Name,
  input: Commands[Name]['input'],
): Promise<Wire<Commands[Name]['answer']> | undefined> {
  try {
    return await command(name, input);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(error.message, 'bad');
    return undefined;
  }
}

// --- Things to press ------------------------------------------------------------------------------------------------

interface ActionProps {
  readonly children: ComponentChildren;
  readonly onClick: () => unknown;
  readonly kind?: 'primary' | 'danger' | 'plain';
  readonly compact?: boolean;
  readonly disabled?: boolean;
  /** What it is for, where its words alone do not say. */
  readonly label?: string;
}

/** A button that changes something: there is none where the console is read-only, and it waits for what it has begun. */
export function Action({ children, onClick, kind, compact, disabled, label }: ActionProps) {
  const { readOnly } = useSession();
  const [busy, setBusy] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  // What it acted on may be gone now, and the button with it: the keyboard goes on in the page, and not at its beginning.
  useLayoutEffect(
    () => () => {
      if (button.current && document.activeElement === button.current) focusPage();
    },
    [],
  );
  if (readOnly) return null;
  const isOff = busy || disabled === true;
  const press = async () => {
    if (isOff) return;
    setBusy(true);
    try {
      await onClick();
    } finally {
      setBusy(false);
    }
  };
  return (
    <button
      ref={button}
      type="button"
      class={`${kind ?? ''} ${compact ? 'compact' : ''}`.trim() || undefined}
      // Not `disabled`, which would take the focus away from it while it is busy.
      aria-disabled={isOff}
      aria-label={label}
      onClick={press}
    >
      {children}
    </button>
  );
}

interface DialogProps {
  readonly title: string;
  readonly children: ComponentChildren;
  /** The words of the button that does it. */
  readonly verb: string;
  readonly danger?: boolean;
  readonly disabled?: boolean;
  /** @returns whether the dialog may close. */
  readonly onConfirm: () => Promise<boolean>;
  readonly onClose: () => void;
}

/** Asks before something is done. */
export function Dialog({ title, children, verb, danger, disabled, onConfirm, onClose }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [busy, setBusy] = useState(false);
  useEffect(() => element.current?.showModal(), []);
  const confirm = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      // Closing gives the focus back to what has opened it.
      if (await onConfirm()) element.current?.close();
    } finally {
      setBusy(false);
    }
  };
  return (
    <dialog
      ref={element}
      aria-labelledby={heading}
      onClose={() => {
        // What has opened it may be gone by now.
        if (document.activeElement === document.body) focusPage();
        onClose();
      }}
    >
      <form method="dialog" onSubmit={confirm}>
        <h2 id={heading}>{title}</h2>
        {children}
        <div class="buttons">
          <button type="button" onClick={() => element.current?.close()}>
            Back
          </button>
          <button class={danger ? 'danger' : 'primary'} disabled={busy || disabled}>
            {verb}
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** One of a few, of which one is chosen. */
export function Segments<Value extends string>(props: {
  name: string;
  options: readonly { value: Value; text: string }[];
  value: Value;
  onChange: (value: Value) => void;
}) {
  return (
    <div class="segments" role="group" aria-label={props.name}>
      {props.options.map(({ value, text }) => (
        <button type="button" key={value} aria-pressed={value === props.value} onClick={() => props.onChange(value)}>
          {text}
        </button>
      ))}
    </div>
  );
}
