import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { print } from './output.ts';
import { ROOT } from './settings.ts';

/**
 * Runs a program of ours to its end, and prints what it says.
 *
 * @throws Error when it fails or `stopping` cuts it short.
 */
export async function runOnce(name: string, entry: string, environment: NodeJS.ProcessEnv, stopping: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, ['--enable-source-maps', entry], {
    cwd: ROOT,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: stopping,
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => print(name, line));
  }
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${name} failed`);
}
