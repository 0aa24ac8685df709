import { existsSync } from 'node:fs';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A browser of this machine; undefined where there is none. */
export const executablePath = BROWSERS.find((path) => existsSync(path));

/** Says what is not run where there is no browser. @throws Error in continuous integration, where there must be one. */
export function explainMissingBrowser(what: string): void {
  if (executablePath !== undefined) return;
  const notRun = `NOT RUN: ${what} in a browser. There is none of ${BROWSERS.join(', ')}.`;
  if (process.env['CI'] === 'true') throw new Error(notRun);
  console.warn(notRun);
}
