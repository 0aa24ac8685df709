import { median } from './statistics.ts';

/** What a comparison has to reach. */
export interface Aim {
  readonly kind: 'at least' | 'at most';
  readonly bound: number;
}

/** One line of the table: what was measured of us and of the anchor, in turns, and how they compare. */
export interface Figure {
  readonly work: string;
  readonly name: string;
  readonly anchor: string;
  readonly unit: string;
  readonly ours: readonly number[];
  readonly anchors: readonly number[];
  /** Of every pair. */
  readonly compared: readonly number[];
  /** What `compared` is: `×` a ratio, otherwise the unit of a difference or of a value by itself. */
  readonly comparedUnit: string;
  readonly aim: Aim | undefined;
  readonly note: string | undefined;
}

export interface FigureOptions {
  work: string;
  name: string;
  anchor: string;
  unit: string;
  aim?: Aim;
  note?: string;
  compare?: (ours: number, anchor: number) => number;
  comparedUnit?: string;
}

export function figureOf(options: FigureOptions, pairs: readonly (readonly [ours: number, anchor: number])[]): Figure {
  const { compare = (ours, anchor) => ours / anchor, comparedUnit = '×', aim, note, ...rest } = options;
  return {
    ...rest,
    aim,
    note,
    comparedUnit,
    ours: pairs.map(([ours]) => ours),
    anchors: pairs.map(([, anchor]) => anchor),
    compared: pairs.map(([ours, anchor]) => compare(ours, anchor)),
  };
}

/** Whether the median reaches the aim; undefined where there is none. */
export function verdict({ aim, compared }: Figure): boolean | undefined {
  if (!aim) return undefined;
  const value = median(compared);
  return aim.kind === 'at least' ? value >= aim.bound : value <= aim.bound;
}

/**
 * Measures two sides in turns, A B A B, so that what else the machine does meets
 * both alike. The first turn of each warms up and is not counted.
 */
export async function alternate<Sample>(
  pairs: number,
  ours: () => Promise<Sample>,
  anchor: () => Promise<Sample>,
): Promise<[Sample, Sample][]> {
  const measured: [Sample, Sample][] = [];
  await ours();
  await anchor();
  for (let pair = 0; pair < pairs; pair++) measured.push([await ours(), await anchor()]);
  return measured;
}
