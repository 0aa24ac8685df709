/** `make services`: only Postgres and the mailbox, until ctrl-c; the apps are run beside them. */
import { openFoundation } from './stack/foundation.ts';
import { aborted, runUntilStopped } from './stack/lifetime.ts';
import { announce } from './stack/output.ts';
import { servicesText } from './stack/services-text.ts';
import { readSettings } from './stack/settings.ts';

await runUntilStopped(async (stopping, resources) => {
  const settings = readSettings();
  const { mailboxUrl } = await openFoundation(settings, [], stopping, resources);
  announce(servicesText(settings, mailboxUrl));
  await aborted(stopping);
});
