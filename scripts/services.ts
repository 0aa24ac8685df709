/** `make services`: only Postgres and the mailbox, until ctrl-c; the apps are run beside them. */
import { openFoundation } from './stack/foundation.ts';
import { aborted, runUntilStopped } from './stack/lifetime.ts';
import { announce } from './stack/output.ts';
import { readSettings } from './stack/settings.ts';

await runUntilStopped(async (stopping, resources) => {
  const settings = readSettings();
  const { environment, mailboxUrl } = await openFoundation(settings, [], stopping, resources);
  const { databaseUrl, smtpUrl, host, httpPort, grpcPort, publicUrl } = settings;
  const lines = [
    'Postgres and the mailbox are running',
    ...(mailboxUrl === undefined ? [] : [`The caught mail: ${mailboxUrl}`]),
    '',
    'Beside them: make migrate, make api, make worker, make tasks. Where no .env file tells them the same, paste this first:',
    databaseUrl === undefined ? assignment('DATABASE_URL', environment.DATABASE_URL) : '# DATABASE_URL as you have set it',
    smtpUrl === undefined ? assignment('SMTP_URL', environment.SMTP_URL) : '# SMTP_URL as you have set it',
    assignment('HOST', host),
    assignment('HTTP_PORT', String(httpPort)),
    assignment('GRPC_PORT', String(grpcPort)),
    assignment('PUBLIC_URL', publicUrl),
    '',
    'ctrl-c stops everything.',
  ];
  announce(lines.join('\n'));
  await aborted(stopping);
});

/** For a shell, which would read some characters of an address as its own. */
function assignment(name: string, value: string): string {
  return `export ${name}='${value.replaceAll("'", `'\\''`)}'`;
}
