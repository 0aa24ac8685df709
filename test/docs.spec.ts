import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');

it('what docs/asvs.md names as its proof is there', () => {
  const named = new Set(readFileSync(join(ROOT, 'docs/asvs.md'), 'utf8').match(/`(?:test|libs|apps)\/[\w./-]+`/g));
  expect(named.size).toBeGreaterThan(20);
  expect([...named].filter((path) => !existsSync(join(ROOT, path.slice(1, -1))))).toEqual([]);
});
