import { useState } from 'preact/hooks';
import type { Count, DeadGroup, TaskActionKind, TaskSearch } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { BulkDialog, isDestructive, Progress, VERBS } from './bulk.js';
import { useLive } from './live.js';
import { Action, countText, Empty, Heading, SearchLink, Time, useSession, Waiting } from './parts.js';

const DEAD_AGAIN = 5_000;
const KINDS = ['redrive', 'delete'] as const;

const searchOfGroup = ({ type, group }: Wire<DeadGroup>): TaskSearch => ({ state: 'dead', type, group });

/** The dead, by what they died of. */
export function DeadPage() {
  const { data, failure, refresh } = useLive('deadGroups', {}, DEAD_AGAIN);
  const [asked, setAsked] = useState<{ kind: TaskActionKind; search: TaskSearch }>();
  const [begun, setBegun] = useState<readonly number[]>([]);
  return (
    <>
      <Heading title="Dead">
        <span class="dim">Grouped by type and error, those of which most died in the last day first.</span>
        <span class="end row">
          {data && data.length > 0 && <Action onClick={() => setAsked({ kind: 'redrive', search: { state: 'dead' } })}>Redrive all</Action>}
        </span>
      </Heading>
      {begun.map((id) => (
        <Progress key={id} id={id} onEnd={refresh} />
      ))}
      <section class="panel">
        {!data && <Waiting failure={failure} />}
        {data?.length === 0 && <Empty>No task is dead.</Empty>}
        {data && data.length > 0 && (
          <DeadTable groups={data} count={({ count }) => count} onAsk={(kind, group) => setAsked({ kind, search: searchOfGroup(group) })} />
        )}
      </section>
      {asked && (
        <BulkDialog
          {...asked}
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

interface DeadTableProps {
  readonly groups: readonly Wire<DeadGroup>[];
  readonly count: (group: Wire<DeadGroup>) => Wire<Count>;
  readonly onAsk?: (kind: TaskActionKind, group: Wire<DeadGroup>) => void;
}

/** A row for each error that tasks of a type died of. */
export function DeadTable({ groups, count, onAsk }: DeadTableProps) {
  const { readOnly } = useSession();
  const canAct = onAsk !== undefined && !readOnly;
  return (
    <div class="scroll">
      <table class="list">
        <thead>
          <tr>
            <th class="number">Tasks</th>
            <th>Error</th>
            <th>Type</th>
            <th>Last died</th>
            {onAsk && <th>In the last day</th>}
            {canAct && (
              <th>
                <span class="visually-hidden">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <tr key={`${group.type} ${group.group}`}>
              <td class="number" data-name="Tasks">
                {countText(count(group))}
              </td>
              <td>
                <SearchLink class="clamp" search={searchOfGroup(group)}>
                  {group.group === '' ? '(of an earlier release: not grouped)' : group.group}
                </SearchLink>
              </td>
              <td class="mono" data-name="Type">
                {group.type}
              </td>
              <td class="nowrap" data-name="Last died">
                <Time at={group.lastAt} />
              </td>
              {onAsk && (
                <td class="number" data-name="In the last day">
                  {countText(group.lastDay)}
                </td>
              )}
              {canAct && (
                <td class="nowrap">
                  <span class="row">
                    {KINDS.map((kind) => (
                      <Action
                        key={kind}
                        compact
                        kind={isDestructive(kind) ? 'danger' : undefined}
                        label={`${VERBS[kind]} all of ${group.type}: ${group.group}`}
                        onClick={() => onAsk(kind, group)}
                      >
                        {VERBS[kind]}
                      </Action>
                    ))}
                  </span>
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
