import { useState } from 'preact/hooks';
import type { ScheduleView, Tick } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { useLive } from './live.js';
import { Action, Dialog, Empty, Heading, perform, say, TaskLink, Time, Waiting } from './parts.js';
import { timeOfDay } from './words.js';

const SCHEDULES_AGAIN = 5_000;

/** Every periodic task, in words. */
export function SchedulesPage() {
  const { data, failure, refresh } = useLive('schedules', {}, SCHEDULES_AGAIN);
  return (
    <>
      <Heading title="Schedules" />
      {!data && <Waiting failure={failure} />}
      {data?.length === 0 && <Empty>No task runs by itself.</Empty>}
      {data?.map((schedule) => (
        <Schedule key={schedule.type} schedule={schedule} onChange={refresh} />
      ))}
    </>
  );
}

type Command = 'pauseSchedule' | 'resumeSchedule' | 'runScheduleNow' | 'deleteSchedule';

function Schedule({ schedule, onChange }: { schedule: Wire<ScheduleView>; onChange: () => void }) {
  const { type, words, cron, timezone, declared, pausedAt, next, ticks, late } = schedule;
  const [isDeleting, setDeleting] = useState(false);
  const tell = async (name: Command) => {
    const record = await perform(name, { type });
    if (record) say(record.text);
    onChange();
    return true;
  };
  return (
    <article class="panel" aria-label={`Schedule ${type}`}>
      <header>
        <h2 class="mono">{type}</h2>
        {pausedAt !== null && <span class="badge paused">paused</span>}
        {late && <span class="badge dead">late</span>}
        {!declared && <span class="badge">not declared any more</span>}
        <span class="end row">
          {pausedAt === null ? (
            <Action compact onClick={() => tell('pauseSchedule')} label={`Pause ${type}`}>
              Pause
            </Action>
          ) : (
            <Action compact onClick={() => tell('resumeSchedule')} label={`Resume ${type}`}>
              Resume
            </Action>
          )}
          {declared && (
            <Action compact onClick={() => tell('runScheduleNow')} label={`Run now: ${type}`}>
              Run now
            </Action>
          )}
          {!declared && (
            <Action compact kind="danger" onClick={() => setDeleting(true)} label={`Delete ${type}`}>
              Delete
            </Action>
          )}
        </span>
      </header>
      <div class="body stack">
        <p>
          {words} <code class="dim">{`${cron} ${timezone}`}</code>
        </p>
        <div class="schedule">
          <div>
            <h3 class="small dim">Next runs</h3>
            {next.length === 0 && <p class="dim">none{pausedAt === null ? '' : ' while it is paused'}</p>}
            <ul>
              {next.map((at) => (
                <li key={at}>
                  {timeOfDay(at)} <span class="dim">{<Time at={at} />}</span>
                </li>
              ))}
            </ul>
          </div>
          <div>
            <h3 class="small dim">Last runs</h3>
            {ticks.length === 0 && <p class="dim">none yet</p>}
            <ul>
              {ticks.map((tick) => (
                <TickLine key={tick.at + tick.what} tick={tick} />
              ))}
            </ul>
          </div>
        </div>
      </div>
      {isDeleting && (
        <Dialog
          title={`Delete the schedule of ${type}`}
          verb="Delete"
          danger
          onConfirm={() => tell('deleteSchedule')}
          onClose={() => setDeleting(false)}
        >
          <p>No worker declares it any more. Its record, with its last runs, is gone for good.</p>
        </Dialog>
      )}
    </article>
  );
}

function TickLine({ tick }: { tick: Wire<Tick> }) {
  return (
    <li>
      {timeOfDay(tick.due)} <span class={tick.what === 'missed' ? 'text-dead' : 'dim'}>{tick.what}</span>{' '}
      {tick.taskId !== null && <TaskLink id={tick.taskId}>{tick.taskId.slice(-12)}</TaskLink>}
    </li>
  );
}
