import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { timeOfDay } from './words.js';

/** A line of a chart. */
export interface Series {
  readonly name: string;
  /** A CSS variable. */
  readonly colour: '--accent' | '--dead' | '--running' | '--delayed';
  /** A value for each time; null where there is none. */
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  readonly name: string;
  /** What it shows, for whoever cannot see it. */
  readonly summary: string;
  /** Seconds since 1970. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
}

const axisTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const timeOnAxis = (seconds: number) => axisTime.format(seconds * 1_000);

/** Lines over time. Their values under the pointer are told in the legend below. */
export function Chart({ name, summary, times, series, format }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const legend = useRef<HTMLDivElement>(null);
  const when = useRef<HTMLTimeElement>(null);
  const shape = series.map(({ name }) => name).join('|');
  const latest = useRef({ series, format });
  latest.current = { series, format };

  useEffect(() => {
    const element = place.current!;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const tell = (index: number | null | undefined) => {
      const spots = legend.current?.querySelectorAll('b') ?? [];
      const time = index === null || index === undefined ? undefined : plot.current?.data[0][index];
      latest.current.series.forEach(({ values }, n) => {
        const value = index === null || index === undefined ? values.findLast((each) => each !== null) : values[index];
        if (spots[n]) spots[n].textContent = value === null || value === undefined ? '–' : latest.current.format(value);
      });
      if (when.current) when.current.textContent = time === undefined ? '' : timeOfDay(new Date(time * 1_000).toISOString());
    };
    const draw = () => {
      plot.current?.destroy();
      const style = getComputedStyle(document.documentElement);
      const colour = (variable: string) => style.getPropertyValue(variable);
      const axis = { stroke: colour('--dim'), font: '11px system-ui', ticks: { show: false } };
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: element.clientHeight,
          legend: { show: false },
          cursor: { points: { size: 6 }, drag: { x: false, y: false }, y: false },
          hooks: { setCursor: [({ cursor }) => tell(cursor.idx)] },
          scales: { y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, 0.001) * 1.1] } },
          axes: [
            { ...axis, grid: { show: false }, size: 24, values: (_plot, splits) => splits.map(timeOnAxis) },
            {
              ...axis,
              grid: { stroke: colour('--line'), width: 1 },
              size: 58,
              space: 36,
              values: (_plot, splits) => splits.map((value) => latest.current.format(value)),
            },
          ],
          series: [
            {},
            ...latest.current.series.map((each) => ({
              stroke: colour(each.colour),
              width: 1.75,
              spanGaps: false,
            })),
          ],
        },
        [[...times], ...latest.current.series.map(({ values }) => [...values])],
        element,
      );
      tell(undefined);
    };
    draw();
    const observer = new ResizeObserver(() => {
      if (plot.current && plot.current.width !== element.clientWidth)
        plot.current.setSize({ width: element.clientWidth, height: element.clientHeight });
    });
    observer.observe(element);
    dark.addEventListener('change', draw);
    return () => {
      observer.disconnect();
      dark.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData([[...times], ...series.map(({ values }) => [...values])]);
  }, [times, series]);

  return (
    <figure class="panel">
      <header>
        <h2>{name}</h2>
        <time class="dim small end" ref={when} />
      </header>
      <div class="body">
        <div class="legend" ref={legend}>
          {series.map(({ name, colour }) => (
            <span key={name} class={`series${colour}`}>
              {name} <b />
            </span>
          ))}
        </div>
        <div class="chart" ref={place} role="img" aria-label={`${name}. ${summary}`} />
      </div>
    </figure>
  );
}
