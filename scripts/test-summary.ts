/** Prints what vitest's JSON report (the first argument) comes to, as the line that CI reads; fails unless everything passed. */
import { existsSync, readFileSync } from 'node:fs';

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[];
}

const NO_REPORT: Report = { success: false, numPassedTests: 0, numFailedTests: 0, testResults: [] };

const file = process.argv[2] ?? '';
const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : NO_REPORT;
// A file that could not even be loaded has no tests that could fail: it counts as one.
const unloadable = report.testResults.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0).length;
const failed = report.numFailedTests + unloadable;
process.stdout.write(`${report.numPassedTests} passed, ${failed} failed\n`);
process.exitCode = report.success && failed === 0 && report.numPassedTests > 0 ? 0 : 1;
