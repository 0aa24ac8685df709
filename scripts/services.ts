/** `make services`: only Postgres and the mailbox, until ctrl-c; the apps are run beside them. */
import { openFoundation } from './stack/foundation.ts';
import { aborted, runUntilStopped } from './stack/lifetime.ts';
import { announce } from './stack/output.ts';
import { readSettings } from './stack/settings.ts';

await runUntilStopped(async (stopping, resources) => {
  const { environment, mailboxUrl } = await openFoundation(readSettings(), [], stopping, resources);
  const lines = [
    'Postgres and the mailbox are running',
    `  DATABASE_URL=${environment.DATABASE_URL}`,
    `  SMTP_URL=${environment.SMTP_URL}`,
    ...(mailboxUrl === undefined ? [] : [`  the caught mail: ${mailboxUrl}`]),
    'Beside them: make migrate, make api, make worker. ctrl-c stops everything.',
  ];
  announce(lines.join('\n'));
  await aborted(stopping);
});
