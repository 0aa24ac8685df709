/**
 * `make check`: the code generated from the contract is up to date, the contract is well-formed and breaks nothing that the
 * last release promised, which `make release-contract` notes. With `--generated`, before every build: only the first, which explains whatever fails after it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { complain, say } from './stack/output.ts';
import { ROOT } from './stack/settings.ts';

const GENERATED = ['libs/contract/src/gen', 'clients/typescript/src/gen'];
const RELEASED = 'libs/contract/released/contract.binpb';

/** Runs a program in the checkout; its own words explain a failure. */
function run(program: string, ...args: readonly string[]): boolean {
  return spawnSync(program, args, { cwd: ROOT, stdio: 'inherit' }).status === 0;
}

function quietly(program: string, ...args: readonly string[]): boolean {
  return spawnSync(program, args, { cwd: ROOT, stdio: 'ignore' }).status === 0;
}

/** What is wrong with the generated code, in one line. */
function staleness(output: string): string | undefined {
  if (!run('buf', 'generate', '--output', output)) return 'proto/ cannot be compiled (above)';
  const stale = GENERATED.filter((folder) => !quietly('diff', '-r', folder, join(output, folder)));
  return stale.length === 0
    ? undefined
    : `${stale.join(' and ')} ${stale.length === 1 ? 'is' : 'are'} not what proto/ generates: run make proto`;
}

const folder = mkdtempSync(join(tmpdir(), 'waybill-contract-'));
try {
  // Told before anything else: other complaints, and the compiler's, follow from it.
  const stale = staleness(folder);
  if (stale) complain(stale);
  if (process.argv.includes('--generated')) {
    process.exitCode = stale ? 1 : 0;
  } else {
    const problems: string[] = [];
    if (!run('buf', 'lint', 'proto')) problems.push('the contract is not well-formed (above)');
    if (!run('buf', 'breaking', 'proto', '--against', RELEASED))
      problems.push('the contract breaks what the last release promised (above)');
    if (problems.length > 0) complain(problems.join('\n'));
    process.exitCode = !stale && problems.length === 0 ? 0 : 1;
    if (process.exitCode === 0) say('the contract is well-formed, compatible and generated');
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
