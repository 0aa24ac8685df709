import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Who the database server runs as: nothing for ourselves. */
export interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

function idOf(flag: '-u' | '-g'): number | undefined {
  const { status, stdout } = spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' });
  return status === 0 ? Number(stdout) : undefined;
}

/**
 * Postgres refuses to run as root, so for root it is the system's `postgres`
 * user, made when there is none.
 */
export function postgresAccount(): Account {
  if (process.getuid?.() !== 0) return {};
  if (idOf('-u') === undefined) {
    try {
      execFileSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres']);
    } catch (cause) {
      throw new Error('Postgres does not run as root, and no "postgres" user could be made: run this as an ordinary user', { cause });
    }
  }
  return { uid: idOf('-u'), gid: idOf('-g') };
}

/** Whether the account can enter a folder that exists. */
export function canEnter(account: Account, folder: string): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { ...account, cwd: '/', stdio: 'ignore' }).status === 0;
}

/**
 * A folder that the account can reach when `key` is a path that it cannot:
 * always the same one for the same path.
 */
export function reachableFolder(account: Account, key: string): string {
  const name = `waybill-${createHash('sha256').update(key).digest('hex').slice(0, 12)}`;
  for (const parent of new Set([tmpdir(), '/var/tmp', '/tmp'])) {
    if (!canEnter(account, parent)) continue;
    const folder = join(parent, name);
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    const { uid } = lstatSync(folder);
    // Anybody may write in a temporary folder: what lies there under our name may be somebody else's.
    if (uid !== process.getuid?.()) throw new Error(`${folder} belongs to another user (${uid}): remove it, or set DATA_DIR`);
    if (canEnter(account, folder)) return folder;
  }
  throw new Error(`the "postgres" user can reach neither ${key} nor a temporary folder: set DATA_DIR to one that it can`);
}
