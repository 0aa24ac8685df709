import type { Result } from './run.ts';

const SHOWN = 5;

/** One line for one scenario, and one more for each of its first violations. */
export function row(section: string, { name, violations, recovery, facts }: Result): string {
  const verdict = violations.length === 0 ? 'kept  ' : 'BROKEN';
  const figures = Object.entries(facts).map(([what, value]) => `${what} ${value}`);
  if (recovery !== undefined) figures.unshift(`well after ${(recovery / 1_000).toFixed(1)} s`);
  const lines = [`${verdict}  ${section.padEnd(17)}  ${name.padEnd(52)}  ${figures.join(', ')}`];
  for (const { kind, about, detail } of violations.slice(0, SHOWN)) lines.push(`        ${kind}: ${about}: ${detail}`);
  if (violations.length > SHOWN) lines.push(`        and ${violations.length - SHOWN} more`);
  return lines.join('\n');
}

/** What a section came to. */
interface Total {
  scenarios: number;
  broken: number;
  lost: number;
  phantom: number;
  double: number;
  duplicates: number;
  slowest: number;
}

/** The table at the end, and the broken ones once more. */
export function summary(results: readonly (Result & { section: string })[], took: number): string {
  const lines = [
    '',
    '| section | scenarios | kept | lost | phantom | double effects, or after the fence | duplicate mails, all allowed ones | slowest recovery |',
    '|---|---|---|---|---|---|---|---|',
  ];
  for (const [section, all] of Map.groupBy(results, (result) => result.section)) {
    const total = all.reduce<Total>(add, { scenarios: 0, broken: 0, lost: 0, phantom: 0, double: 0, duplicates: 0, slowest: 0 });
    lines.push(
      `| ${section} | ${total.scenarios} | ${total.scenarios - total.broken} | ${total.lost} | ${total.phantom} | ${total.double} | ${total.duplicates} | ${(total.slowest / 1_000).toFixed(1)} s |`,
    );
  }
  const broken = results.filter(({ violations }) => violations.length > 0);
  lines.push(
    '',
    `${results.length} scenarios in ${Math.round(took / 1_000)} s: ${results.length === 0 ? 'NOTHING WAS RUN' : broken.length === 0 ? 'every promise kept' : `${broken.length} BROKEN`}`,
    ...broken.map((result) => row(result.section, result)),
  );
  return lines.join('\n');
}

function add(total: Total, { violations, facts, recovery }: Result): Total {
  const count = (...kinds: string[]) => violations.filter(({ kind }) => kinds.includes(kind)).length;
  return {
    scenarios: total.scenarios + 1,
    broken: total.broken + (violations.length > 0 ? 1 : 0),
    lost: total.lost + count('lost', 'stuck'),
    phantom: total.phantom + count('phantom'),
    double: total.double + count('double effect', 'effect after the fence'),
    duplicates: total.duplicates + Number(facts['duplicates'] ?? 0),
    slowest: Math.max(total.slowest, recovery ?? 0),
  };
}
