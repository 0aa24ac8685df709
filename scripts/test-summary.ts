/**
 * Prints what vitest's JSON report (the first argument) comes to, as the line that CI reads, and before it why tests
 * have failed, in short: the run's own account of that is far above by then. Fails unless everything passed.
 */
import { existsSync, readFileSync } from 'node:fs';

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

const NO_REPORT: Report = { success: false, numPassedTests: 0, numFailedTests: 0, testResults: [] };
/** Of a message that is longer its beginning and its end are printed, so many characters of either. */
const EXCERPT = 1_500;

function excerpt(message: string): string {
  return message.length <= 2 * EXCERPT ? message : `${message.slice(0, EXCERPT)}\n…\n${message.slice(-EXCERPT)}`;
}

const file = process.argv[2] ?? '';
const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : NO_REPORT;
let failed = 0;
for (const { name, status, message, assertionResults } of report.testResults) {
  const failures = assertionResults.filter((test) => test.status === 'failed');
  for (const { fullName, failureMessages = [] } of failures) {
    process.stdout.write(`FAILED ${name}: ${fullName}\n${excerpt(failureMessages.join('\n'))}\n\n`);
  }
  // A file that could not be loaded or prepared has no failed test to show for it: it counts as one.
  const isBroken = status === 'failed' && failures.length === 0;
  if (isBroken) process.stdout.write(`FAILED ${name}\n${excerpt(message)}\n\n`);
  failed += isBroken ? 1 : failures.length;
}
process.stdout.write(`${report.numPassedTests} passed, ${failed} failed\n`);
process.exitCode = report.success && failed === 0 && report.numPassedTests > 0 ? 0 : 1;
