import { useMemo, useState } from 'preact/hooks';
import type { Overview, QueueView, SeriesRange } from '@app/tasks';
import type { Wire } from '../src/api.js';
import { Chart, type Series } from './chart.js';
import { DeadTable } from './dead.js';
import { useLive } from './live.js';
import { Action, countText, Empty, Heading, perform, say, SearchLink, Segments, Waiting } from './parts.js';
import { duration, many, number, rate } from './words.js';

/** How often each is asked for, in milliseconds. */
const OVERVIEW_AGAIN = 3_000;
const SERIES_AGAIN = 15_000;
const DEAD_AGAIN = 10_000;

const RANGES = [
  { value: 'hour', text: 'Hour' },
  { value: 'day', text: 'Day' },
] as const;

/** What is wrong now, every queue, the charts, and what died. */
export function OverviewPage() {
  const { data, failure, refresh } = useLive('overview', {}, OVERVIEW_AGAIN);
  const [range, setRange] = useState<SeriesRange>('hour');
  if (!data) return <Page>{<Waiting failure={failure} />}</Page>;
  return (
    <Page>
      <Problems problems={data.problems} />
      <section class="cards" aria-label="Queues">
        {data.queues.map((queue) => (
          <QueueCard key={queue.queue} queue={queue} onChange={refresh} />
        ))}
      </section>
      <Charts range={range} onRange={setRange} />
      <Died />
    </Page>
  );
}

function Page({ children }: { children: preact.ComponentChildren }) {
  return (
    <>
      <Heading title="Overview" />
      {children}
    </>
  );
}

function Problems({ problems }: { problems: Wire<Overview>['problems'] }) {
  return (
    <section aria-label="Wrong now" class="stack">
      {problems.length === 0 && <p class="notice good">Nothing is wrong.</p>}
      {problems.map(({ text, queue, schedule }) => (
        <p class="notice bad" key={text}>
          {text} {queue !== undefined && <SearchLink search={{ queue, state: 'ready' }}>Its tasks</SearchLink>}
          {schedule !== undefined && <a href="/schedules">Schedules</a>}
        </p>
      ))}
    </section>
  );
}

function QueueCard({ queue, onChange }: { queue: Wire<QueueView>; onChange: () => void }) {
  const { queue: name, weight, paused, pausedAt, workers, latency } = queue;
  const turn = async () => {
    const record = await perform(paused ? 'resumeQueue' : 'pauseQueue', { queue: name });
    if (record) say(record.text);
    onChange();
  };
  const figures = [
    ['ready', queue.ready],
    ['running', queue.running],
    ['delayed', queue.delayed],
    ['dead', queue.dead],
  ] as const;
  return (
    <article class="panel" aria-label={`Queue ${name}`}>
      <header>
        <h2>{name}</h2>
        <span class="dim small">{weight === 0 ? 'no weight here' : `weight ${weight}`}</span>
        {paused && (
          <span class="badge paused" title={pausedAt ?? undefined}>
            paused
          </span>
        )}
        <span class="end">
          {weight > 0 && (
            <Action compact onClick={turn} label={`${paused ? 'Resume' : 'Pause'} ${name}`}>
              {paused ? 'Resume' : 'Pause'}
            </Action>
          )}
        </span>
      </header>
      <div class="body stack">
        <dl class="figures">
          {figures.map(([state, count]) => (
            <div key={state}>
              <dt>{state}</dt>
              <dd class={count.count === 0 ? 'zero' : `text-${state}`}>
                <SearchLink search={{ queue: name, state }}>{countText(count)}</SearchLink>
              </dd>
            </div>
          ))}
        </dl>
        <p class="dim small">
          {latency === 0 ? 'nothing waits' : `oldest ready task waits for ${duration(latency)}`} · {rate(queue.startsPerSecond)} started
          {queue.failuresPerSecond > 0 && <span class="text-dead"> · {rate(queue.failuresPerSecond)} failed</span>} ·{' '}
          {many(workers, 'worker')}
        </p>
      </div>
    </article>
  );
}

function Charts({ range, onRange }: { range: SeriesRange; onRange: (range: SeriesRange) => void }) {
  const { data, failure } = useLive('series', { range }, SERIES_AGAIN);
  const shown = useMemo(() => {
    if (!data) return undefined;
    const perMinute = (values: (number | null)[]) => values.map((value) => (value === null ? null : (value * 60) / data.span));
    const times = data.at.map((at) => Date.parse(at) / 1_000);
    const throughput: Series[] = [
      { name: 'completed', colour: '--running', values: perMinute(data.completed) },
      { name: 'started', colour: '--accent', values: perMinute(data.started) },
    ];
    const failures: Series[] = [
      { name: 'failed', colour: '--delayed', values: perMinute(data.failed) },
      { name: 'died', colour: '--dead', values: perMinute(data.died) },
    ];
    const latency: Series[] = [
      { name: 'oldest ready', colour: '--accent', values: data.latency },
      { name: 'average wait', colour: '--delayed', values: data.waited },
      { name: 'average run', colour: '--running', values: data.ran },
    ];
    const sum = (values: (number | null)[]) => values.reduce<number>((total, value) => total + (value ?? 0), 0);
    return {
      times,
      throughput,
      failures,
      latency,
      sums: { completed: sum(data.completed), failed: sum(data.failed), died: sum(data.died) },
    };
  }, [data]);
  const perMinute = (value: number) => `${number(value < 10 ? Math.round(value * 10) / 10 : Math.round(value))}/min`;
  return (
    <section class="stack" aria-label="Charts">
      <div class="heading">
        <h2>The last {range}</h2>
        <span class="end">
          <Segments name="Range of the charts" options={RANGES} value={range} onChange={onRange} />
        </span>
      </div>
      {!shown && <Waiting failure={failure} />}
      {shown && (
        <div class="charts">
          <Chart
            name="Throughput"
            summary={`${many(shown.sums.completed, 'task')} completed in the last ${range}.`}
            times={shown.times}
            series={shown.throughput}
            format={perMinute}
          />
          <Chart
            name="Failures"
            summary={`${many(shown.sums.failed, 'attempt')} failed and ${many(shown.sums.died, 'task')} died in the last ${range}.`}
            times={shown.times}
            series={shown.failures}
            format={perMinute}
          />
          <Chart
            name="Latency"
            summary="How long the oldest ready task waited, and how long first attempts waited and attempts ran on average."
            times={shown.times}
            series={shown.latency}
            format={duration}
          />
        </div>
      )}
    </section>
  );
}

function Died() {
  const { data, failure } = useLive('deadGroups', {}, DEAD_AGAIN);
  const groups = data?.filter(({ lastDay }) => lastDay.count > 0) ?? [];
  return (
    <section class="panel" aria-label="Died in the last day">
      <header>
        <h2>Died in the last day</h2>
        <a class="end small" href="/dead">
          All that are dead
        </a>
      </header>
      {!data && <Waiting failure={failure} />}
      {data && groups.length === 0 && <Empty>No task has died.</Empty>}
      {groups.length > 0 && <DeadTable groups={groups} count={({ lastDay }) => lastDay} />}
    </section>
  );
}
