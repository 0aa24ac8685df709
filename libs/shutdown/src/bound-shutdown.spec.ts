import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';

/** A process that listens, and does nothing about signals but to hear of them. */
function stubborn(milliseconds: number) {
  const script = `
    const { boundShutdown } = await import(${JSON.stringify(new URL('bound-shutdown.ts', import.meta.url).href)});
    const { createServer } = await import('node:net');
    process.on('SIGTERM', () => console.log('heard'));
    boundShutdown(${milliseconds});
    createServer().listen(0, '127.0.0.1', () => console.log('listening'));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)));
  return { child, output: () => output, listening: once(child.stdout, 'data'), ended: once(child, 'close') };
}

describe('a process that nothing ends', () => {
  it('ends with 1 at its bound after a signal, and says what has held it', async () => {
    const { child, output, listening, ended } = stubborn(100);
    await listening;
    child.kill('SIGTERM');
    expect(await ended).toEqual([1, null]);
    expect(output()).toContain('heard');
    expect(output()).toContain('the process did not end in time');
    expect(output()).toContain('TCPServerWrap');
  });
});
