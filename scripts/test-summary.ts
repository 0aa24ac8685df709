/** Prints what vitest's JSON report (the first argument) comes to, as the line that CI reads; fails unless everything passed. */
import { existsSync, readFileSync } from 'node:fs';

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly { readonly status: string }[] }[];
}

const NO_REPORT: Report = { success: false, numPassedTests: 0, numFailedTests: 0, testResults: [] };

const file = process.argv[2] ?? '';
const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : NO_REPORT;
// A file that could not be loaded or prepared has no failed test to show for it: it counts as one.
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
).length;
const failed = report.numFailedTests + broken;
process.stdout.write(`${report.numPassedTests} passed, ${failed} failed\n`);
process.exitCode = report.success && failed === 0 && report.numPassedTests > 0 ? 0 : 1;
