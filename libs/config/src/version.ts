import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';

/** What the apps' package says: operators see it beside each worker, so that they know which release it is. */
export const version: string | undefined = readVersion();

function readVersion(): string | undefined {
  const path = findPackageJSON(import.meta.url);
  if (path === undefined) return undefined;
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version?: unknown };
  return typeof version === 'string' ? version : undefined;
}
