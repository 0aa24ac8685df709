import { useLocation } from 'preact-iso/router';
import type { ActionRecord } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { progressText } from './bulk.js';
import { useLive } from './live.js';
import { Action, Empty, Heading, perform, SearchLink, sentence, Time, Waiting } from './parts.js';

const ACTIONS_AGAIN = 3_000;
/** How many a page has. */
const PAGE = 50;

/** Who has done what, the newest first. */
export function ActionsPage() {
  const { query } = useLocation();
  const before = Number(query['before']);
  const { data, failure, refresh } = useLive('actions', before > 0 ? { before } : {}, ACTIONS_AGAIN);
  const last = data?.at(-1);
  return (
    <>
      <Heading title="Actions">
        <span class="dim">What operators have done, here and with make tasks.</span>
      </Heading>
      <section class="panel">
        {!data && <Waiting failure={failure} />}
        {data?.length === 0 && <Empty>Nobody has done anything{before > 0 ? ' before that' : ' yet'}.</Empty>}
        {data && data.length > 0 && <ActionTable actions={data} onChange={refresh} />}
        {last && (
          <div class="body row">
            <span class="end row">
              {before > 0 && (
                <a class="button" href="/actions">
                  Newest
                </a>
              )}
              {data && data.length >= PAGE && (
                <a class="button" href={`/actions?before=${last.id}`}>
                  Older
                </a>
              )}
            </span>
          </div>
        )}
      </section>
    </>
  );
}

function ActionTable({ actions, onChange }: { actions: readonly Wire<ActionRecord>[]; onChange: () => void }) {
  const stop = async (id: number) => {
    await perform('stopAction', { id });
    onChange();
  };
  return (
    <div class="scroll">
      <table class="list">
        <thead>
          <tr>
            <th>When</th>
            <th>Who</th>
            <th>What</th>
            <th>What came of it</th>
          </tr>
        </thead>
        <tbody>
          {actions.map((action) => (
            <tr key={action.id}>
              <td class="nowrap">
                <Time at={action.at} />
              </td>
              <td data-name="Who">{action.who}</td>
              <td>
                {sentence(action.text)} <Target action={action} />
              </td>
              <td>
                <span class="row">
                  <span class={action.state === 'failed' || action.state === 'interrupted' ? 'text-dead' : undefined}>
                    {progressText(action)}
                  </span>
                  {action.state === 'running' && (
                    <Action compact onClick={() => stop(action.id)}>
                      Stop
                    </Action>
                  )}
                </span>
                {action.state === 'running' && action.total > 0 && (
                  <progress max={action.total} value={action.done + action.refused} aria-label={progressText(action)} />
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Target({ action }: { action: Wire<ActionRecord> }) {
  if (action.taskId !== null) return <a href={`/tasks/${action.taskId}`}>The task</a>;
  if (action.search !== null) return <SearchLink search={action.search}>The search</SearchLink>;
  return null;
}
