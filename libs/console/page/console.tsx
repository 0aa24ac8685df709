import { render } from 'preact';
import { useLayoutEffect } from 'preact/hooks';
import { LocationProvider, Route, Router, useLocation } from 'preact-iso/router';
import { ActionsPage } from './actions.js';
import { DeadPage } from './dead.js';
import { useOutage, useLive } from './live.js';
import { OverviewPage } from './overview.js';
import { Empty, focusPage, Heading, sentence, SessionContext, Toasts, useSession, Waiting } from './parts.js';
import { SchedulesPage } from './schedules.js';
import { TaskStoryPage } from './task.js';
import { TasksPage } from './tasks.js';
import { timeOfDay } from './words.js';
import { WorkersPage } from './workers.js';

/** The pages, in the order of the tabs; what the keys g and then one of these lead to. */
const PAGES = [
  { path: '/', name: 'Overview', key: 'o' },
  { path: '/tasks', name: 'Tasks', key: 't' },
  { path: '/dead', name: 'Dead', key: 'd' },
  { path: '/schedules', name: 'Schedules', key: 's' },
  { path: '/workers', name: 'Workers', key: 'w' },
  { path: '/actions', name: 'Actions', key: 'a' },
] as const;

/** Milliseconds. */
const KEY_PATIENCE = 1_500;

/** Keys that lead to a page: g and then its first letter; / leads into the first field of a search. */
function useKeys(): void {
  const { route } = useLocation();
  // Before the page is painted: whoever sees it can use them.
  useLayoutEffect(() => {
    let began = 0;
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, textarea, select, dialog')) return;
      const isSecond = Date.now() - began < KEY_PATIENCE;
      began = 0;
      const page = isSecond ? PAGES.find(({ key }) => key === event.key) : undefined;
      if (page) route(page.path);
      else if (event.key === 'g') began = Date.now();
      else if (event.key === '/') {
        const field = document.querySelector<HTMLElement>('main input');
        if (!field) return;
        event.preventDefault();
        field.focus();
      }
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [route]);
}

function Bar() {
  const { path } = useLocation();
  const { who, readOnly } = useSession();
  const isAway = useOutage() !== undefined;
  const isCurrent = (page: string) => (page === '/' ? path === '/' : path === page || path.startsWith(`${page}/`));
  return (
    <header class="bar">
      <div class="bar-inner">
        <a class="brand" href="/" aria-label="Waybill: overview">
          <img src="/assets/icon.svg" alt="" width="20" height="20" /> Waybill
        </a>
        <nav
          class="tabs"
          aria-label="Pages"
          ref={(tabs) => tabs?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })}
        >
          {PAGES.map((page) => (
            <a key={page.path} href={page.path} aria-current={isCurrent(page.path) ? 'page' : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        <div class="who">
          <span class={isAway ? 'pulse away' : 'pulse'}>{isAway ? 'away' : 'live'}</span>
          {readOnly && <span class="badge">read-only</span>}
          <span class="name" title={who}>
            {who}
          </span>
          <form method="post" action="/logout">
            <button class="plain">Log out</button>
          </form>
        </div>
      </div>
    </header>
  );
}

function Away() {
  const outage = useOutage();
  return (
    <div class="away" role="status" aria-live="polite">
      {outage && (
        <p class="notice bad">
          {sentence(outage.failure.message)}{' '}
          {outage.since !== undefined && `What you see is of ${timeOfDay(new Date(outage.since).toISOString())}. `}
          It is asked for again until it comes.
        </p>
      )}
    </div>
  );
}

function NotFound() {
  return (
    <>
      <Heading title="There is no such page" />
      <Empty>
        <a href="/">To the overview</a>
      </Empty>
    </>
  );
}

function Pages() {
  useKeys();
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <Bar />
      <main class="page" id="main" tabIndex={-1}>
        <Away />
        <Router onRouteChange={focusPage}>
          <Route path="/" component={OverviewPage} />
          <Route path="/tasks" component={TasksPage} />
          <Route path="/tasks/:id" component={TaskStoryPage} />
          <Route path="/dead" component={DeadPage} />
          <Route path="/schedules" component={SchedulesPage} />
          <Route path="/workers" component={WorkersPage} />
          <Route path="/actions" component={ActionsPage} />
          <Route default component={NotFound} />
        </Router>
      </main>
      <Toasts />
    </>
  );
}

/** Milliseconds. */
const SESSION_AGAIN = 60_000;

function Console() {
  const { data: session, failure } = useLive('session', {}, SESSION_AGAIN);
  if (!session) return <Waiting failure={failure} />;
  return (
    <SessionContext.Provider value={session}>
      <LocationProvider scope={/^\/(?!assets|login|api)/}>
        <Pages />
      </LocationProvider>
    </SessionContext.Provider>
  );
}

render(<Console />, document.getElementById('console')!);
