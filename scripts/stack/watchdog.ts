import { spawn } from 'node:child_process';

/**
 * Has `pid` signalled as soon as this process is gone, however it went: a
 * small shell waits for the pipe from us to close, which even SIGKILL does.
 * For what only a test run needs and nobody would come back to clean up.
 *
 * @returns a function that calls it off.
 */
export function endWithThisProcess(pid: number, name: 'INT' | 'TERM'): () => void {
  const shell = spawn('/bin/sh', ['-c', 'read -r _; kill -s "$0" "$1"', name, String(pid)], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.unref();
  return () => {
    shell.kill('SIGKILL');
    shell.stdin.destroy();
  };
}
