import type { WorkerView } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { useLive } from './live.js';
import { Empty, Heading, TaskLink, Time, Waiting } from './parts.js';
import { duration, many } from './words.js';
import { now } from './client.js';

const WORKERS_AGAIN = 3_000;

/** Every worker process that is alive, and what it does. */
export function WorkersPage() {
  const { data, failure } = useLive('workers', {}, WORKERS_AGAIN);
  const slots = data?.reduce((sum, worker) => sum + (worker.alive ? (worker.slots ?? 0) : 0), 0) ?? 0;
  const inUse = data?.reduce((sum, worker) => sum + (worker.alive ? (worker.inUse ?? 0) : 0), 0) ?? 0;
  return (
    <>
      <Heading title="Workers">
        {data && data.length > 0 && (
          <span class="dim">
            {many(data.filter(({ alive }) => alive).length, 'worker')} alive, {inUse} of {many(slots, 'slot')} in use
          </span>
        )}
      </Heading>
      {!data && <Waiting failure={failure} />}
      {data?.length === 0 && <Empty>No worker is alive: nothing runs.</Empty>}
      {data?.map((worker) => (
        <Worker key={worker.id} worker={worker} />
      ))}
    </>
  );
}

function Worker({ worker }: { worker: Wire<WorkerView> }) {
  const { id, host, pid, version, startedAt, heardAt, alive, queues, slots, inUse, running } = worker;
  return (
    <article class="panel" aria-label={`Worker ${id}`}>
      <header>
        <h2>
          {host} <span class="dim">process {pid}</span>
        </h2>
        <span class={`badge ${alive ? 'running' : 'dead'}`}>{alive ? 'alive' : 'not heard of'}</span>
        <span class="dim small end">
          worker {id} · {version === null ? 'of the last release' : `version ${version}`}
        </span>
      </header>
      <div class="body stack">
        <dl class="facts">
          <div>
            <dt>Slots in use</dt>
            <dd>
              {slots === null || inUse === null ? (
                'it does not say'
              ) : (
                <>
                  {inUse} of {slots}
                  <span class="meter" aria-hidden="true">
                    <span style={{ width: `${slots === 0 ? 0 : Math.min(100, (100 * inUse) / slots)}%` }} />
                  </span>
                </>
              )}
            </dd>
          </div>
          <div>
            <dt>Queues</dt>
            <dd>
              {queues === null
                ? 'it does not say'
                : Object.entries(queues)
                    .map(([queue, weight]) => `${queue} ${weight}`)
                    .join(', ')}
            </dd>
          </div>
          <div>
            <dt>Last heartbeat</dt>
            <dd>
              <Time at={heardAt} />
            </dd>
          </div>
          <div>
            <dt>Started</dt>
            <dd>
              <Time at={startedAt} />
            </dd>
          </div>
        </dl>
        {running.length > 0 && (
          <div class="scroll">
            <table class="list">
              <thead>
                <tr>
                  <th>Runs now</th>
                  <th>Queue</th>
                  <th>For</th>
                </tr>
              </thead>
              <tbody>
                {running.map((task) => (
                  <tr key={task.id}>
                    <td>
                      <TaskLink id={task.id}>{task.type}</TaskLink> <span class="mono dim small">{task.id}</span>
                    </td>
                    <td data-name="Queue">{task.queue}</td>
                    <td data-name="For" class="nowrap">
                      {duration(now() - Date.parse(task.since))}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
    </article>
  );
}
