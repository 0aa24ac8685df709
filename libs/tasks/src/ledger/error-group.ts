/** How much of an error's first line tells its kind, in characters. */
const LENGTH = 200;

/** What is another one each time: UUIDs, what is written in hexadecimal, numbers. Statuses of HTTP and SMTP, 4xx and 5xx, tell kinds apart. */
const VARYING =
  /\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b|\b0x[0-9a-f]+\b|(?!\b[45]\d\d\b)(?<![\d.])\d+(?:[.,:]\d+)*(?:(?:ms|s|m|h)\b)?/gi;

/**
 * What an error has in common with others of its kind: its first line, in which
 * ids and numbers are replaced by `…`.
 *
 * @param error a text that may be kept: clean, and of a bounded length.
 */
export function errorGroup(error: string): string {
  const [line = ''] = error.trimStart().split('\n', 1);
  // Before it is cut, a line that is all numbers would be dear to read.
  return line
    .slice(0, 4 * LENGTH)
    .replace(VARYING, '…')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, LENGTH)
    .toWellFormed();
}
