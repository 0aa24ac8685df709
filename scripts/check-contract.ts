/** `make check`: the contract is well-formed, breaks nothing that the last commit promised, and its generated code is up to date. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { complain, say } from './stack/output.ts';
import { ROOT } from './stack/settings.ts';

const GENERATED = 'libs/contract/src/gen';

/** Runs a program in the checkout; its own words explain a failure. */
function run(program: string, ...args: readonly string[]): boolean {
  return spawnSync(program, args, { cwd: ROOT, stdio: 'inherit' }).status === 0;
}

function quietly(program: string, ...args: readonly string[]): boolean {
  return spawnSync(program, args, { cwd: ROOT, stdio: 'ignore' }).status === 0;
}

/** Lays the last commit's contract out in `folder`, with the modules that it imports. */
function checkOutContract(folder: string): boolean {
  if (!quietly('git', 'cat-file', '-e', 'HEAD:proto')) return false;
  const archive = join(folder, 'contract.tar');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(ROOT, 'node_modules/protobufjs'), join(folder, 'node_modules/protobufjs'));
  return quietly('git', 'archive', `--output=${archive}`, 'HEAD', 'buf.yaml', 'proto') && quietly('tar', '-xf', archive, '-C', folder);
}

function breaksNothing(folder: string): boolean {
  if (checkOutContract(folder)) return run('buf', 'breaking', 'proto', '--against', join(folder, 'proto'));
  say('no earlier commit holds the contract: whether it breaks something was not checked');
  return true;
}

function isGenerated(folder: string): boolean {
  return run('buf', 'generate', '--output', folder) && run('diff', '-r', GENERATED, join(folder, GENERATED));
}

const folder = mkdtempSync(join(tmpdir(), 'waybill-contract-'));
try {
  const problems: string[] = [];
  if (!run('buf', 'lint', 'proto')) problems.push('the contract is not well-formed (above)');
  if (!breaksNothing(folder)) problems.push('the contract breaks what the last commit promised (above)');
  if (!isGenerated(folder)) problems.push(`${GENERATED} is not what the contract generates: run make proto`);
  process.exitCode = problems.length > 0 ? 1 : 0;
  if (problems.length > 0) complain(problems.join('\n'));
  else say('the contract is well-formed, compatible and generated');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
