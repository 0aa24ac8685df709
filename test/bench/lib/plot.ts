import { type Figure, verdict } from './figure.ts';
import { round } from './report.ts';
import { median } from './statistics.ts';

const WIDTH = 960;
const LABELS = 430;
const VALUES = 130;
const ROW = 34;
const TOP = 56;
const TICKS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1c2430 }
  .dim { fill: #5b6675; font-size: 11px }
  .grid { stroke: #d9dfe7 } .one { stroke: #5b6675 }
  .met { fill: #1f7a4d; stroke: #1f7a4d } .missed { fill: #b3421f; stroke: #b3421f } .none { fill: #5b6675; stroke: #5b6675 }
  .aim { stroke: #1c2430; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8ecf2 } .dim { fill: #a3adbb } .grid { stroke: #303846 } .one { stroke: #a3adbb } .aim { stroke: #e8ecf2 }
    .met { fill: #5fc795; stroke: #5fc795 } .missed { fill: #f08a66; stroke: #f08a66 } .none { fill: #a3adbb; stroke: #a3adbb }
  }`;

/** The ratios: a line from the least to the greatest of the pairs, a dot at the median, a stroke at the aim. */
export function plotRatios(figures: readonly Figure[]): string {
  const shown = figures.filter(({ comparedUnit }) => comparedUnit === '×');
  const values = shown.flatMap(({ compared, aim }) => [...compared, ...(aim ? [aim.bound] : [])]);
  const [low, high] = [Math.min(...values, 0.5) / 1.15, Math.max(...values, 2) * 1.15];
  const span = WIDTH - LABELS - VALUES;
  const x = (value: number) => LABELS + (Math.log(value / low) / Math.log(high / low)) * span;
  const height = TOP + shown.length * ROW + 16;
  const ticks = TICKS.filter((tick) => tick > low && tick < high).map(
    (tick) =>
      `<line class="${tick === 1 ? 'one' : 'grid'}" x1="${at(x(tick))}" y1="${TOP - 14}" x2="${at(x(tick))}" y2="${height - 10}"/>` +
      `<text class="dim" x="${at(x(tick))}" y="${TOP - 20}" text-anchor="middle">${tick}×</text>`,
  );
  const rows = shown.map((figure, index) => row(figure, TOP + index * ROW + 10, x));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Each figure as a ratio to its anchor">`,
    `<style>${STYLE}</style>`,
    `<text x="0" y="18" font-weight="600">As a multiple of the anchor (logarithmic): median, spread, and the aim as a stroke</text>`,
    ...ticks,
    ...rows,
    '</svg>',
    '',
  ].join('\n');
}

function row(figure: Figure, y: number, x: (value: number) => number): string {
  const met = verdict(figure);
  const kind = met === undefined ? 'none' : met ? 'met' : 'missed';
  const { compared, aim, name, anchor } = figure;
  const words = met === undefined ? '' : met ? ' met' : ' missed';
  return [
    `<text x="0" y="${y}">${escape(name)}</text><text class="dim" x="0" y="${y + 13}">beside ${escape(anchor)}</text>`,
    `<line class="${kind}" stroke-width="3" x1="${at(x(Math.min(...compared)))}" y1="${y}" x2="${at(x(Math.max(...compared)))}" y2="${y}"/>`,
    aim ? `<line class="aim" x1="${at(x(aim.bound))}" y1="${y - 9}" x2="${at(x(aim.bound))}" y2="${y + 9}"/>` : '',
    `<circle class="${kind}" cx="${at(x(median(compared)))}" cy="${y}" r="5"/>`,
    `<text x="${WIDTH - VALUES + 12}" y="${y + 4}">${round(median(compared))}×${words}</text>`,
  ].join('');
}

const at = (value: number): string => value.toFixed(1);
const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
