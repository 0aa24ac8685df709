import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process, told apart from a later one that was given the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startedAt: string;
}

interface ProcessState {
  readonly parent: number;
  readonly startedAt: string;
  readonly zombie: boolean;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return undefined;
  }
}

function ps(pid: number, ...columns: readonly string[]): string | undefined {
  try {
    return execFileSync('ps', [...columns.flatMap((column) => ['-o', `${column}=`]), '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}

/** Linux is asked through /proc, because a slim Debian has no `ps`. */
function stateOf(pid: number): ProcessState | undefined {
  if (process.platform === 'linux') {
    const stat = readProc(`${pid}/stat`);
    if (stat === undefined) return undefined;
    // The second field is the name in brackets, which may itself hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readProc('sys/kernel/random/boot_id')?.trim() ?? '';
    return { parent: Number(fields[1]), startedAt: `${boot}/${fields[19]}`, zombie: fields[0] === 'Z' };
  }
  const [parent, state, ...started] = ps(pid, 'ppid', 'state', 'lstart')?.split(/\s+/) ?? [];
  if (state === undefined) return undefined;
  return { parent: Number(parent), startedAt: started.join(' '), zombie: state.startsWith('Z') };
}

/** The identity of a running process, or undefined when there is none. */
export function identify(pid: number): ProcessIdentity | undefined {
  const state = stateOf(pid);
  return state && !state.zombie ? { pid, startedAt: state.startedAt } : undefined;
}

/** Whether this very process still runs. */
export function isRunning(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startedAt === identity.startedAt;
}

/** The parent of a running process. */
export function parentOf(pid: number): number | undefined {
  return stateOf(pid)?.parent;
}

/** The command line of a running process, or the empty string. */
export function commandOf(pid: number): string {
  const command = process.platform === 'linux' ? readProc(`${pid}/cmdline`)?.replaceAll('\0', ' ') : ps(pid, 'command');
  return command ?? '';
}

/** Signals a process, or with a negative pid its group; one that has gone is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Ends a process that is not our child: sends the signals in turn, each after a wait for the one before. */
export async function endProcess(identity: ProcessIdentity, signals: readonly NodeJS.Signals[], patience: number): Promise<void> {
  for (const name of signals) {
    if (!isRunning(identity)) return;
    signal(identity.pid, name);
    const deadline = Date.now() + patience;
    while (isRunning(identity) && Date.now() < deadline) await sleep(50);
  }
}
