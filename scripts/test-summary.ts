/**
 * Prints what vitest's JSON report (the first argument) comes to, as the line that CI reads, and before it why tests
 * have failed, in short, and which: the run's own account of that is far above by then. Fails unless everything passed.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

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

/** The first line of a message, for a list in which every failure has its line. */
function headline(message: string): string {
  return message.split('\n', 1)[0]!.slice(0, 150);
}

const file = process.argv[2] ?? '';
const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : NO_REPORT;
const headlines: string[] = [];
for (const { name, status, message, assertionResults } of report.testResults) {
  const failures = assertionResults.filter((test) => test.status === 'failed');
  for (const { fullName, failureMessages = [] } of failures) {
    const why = failureMessages.join('\n');
    process.stdout.write(`FAILED ${name}: ${fullName}\n${excerpt(why)}\n\n`);
    headlines.push(`FAILED ${basename(name)}: ${fullName.slice(0, 100)}: ${headline(why)}`);
  }
  // A file that could not be loaded or prepared has no failed test to show for it: it counts as one.
  if (status === 'failed' && failures.length === 0) {
    process.stdout.write(`FAILED ${name}\n${excerpt(message)}\n\n`);
    headlines.push(`FAILED ${basename(name)}: ${headline(message)}`);
  }
}
// Once more in a line each, and last: whoever sees only the end of a long output sees all of them.
for (const line of headlines) process.stdout.write(`${line}\n`);
process.stdout.write(`${report.numPassedTests} passed, ${headlines.length} failed\n`);
process.exitCode = report.success && headlines.length === 0 && report.numPassedTests > 0 ? 0 : 1;
