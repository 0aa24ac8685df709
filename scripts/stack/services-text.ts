import type { StackSettings } from './settings.ts';

/** What `make services` says when it runs, with what a shell is to be told so that the apps find it. */
export function servicesText(settings: StackSettings, mailboxUrl: string | undefined): string {
  const { databaseUrl, smtpUrl, host, httpPort, grpcPort, publicUrl } = settings;
  return [
    heading(settings),
    ...(mailboxUrl === undefined ? [] : [`The caught mail: ${mailboxUrl}`]),
    '',
    'Beside them: make migrate, make api, make worker, make tasks. Where no .env file tells them the same, paste this first:',
    // Ports, and no addresses: with a DATABASE_URL or SMTP_URL the next `make services` in that shell would start nothing.
    ...(databaseUrl === undefined ? [assignment('POSTGRES_PORT', settings.postgresPort)] : ['# DATABASE_URL as you have set it']),
    ...(smtpUrl === undefined
      ? [assignment('SMTP_PORT', settings.smtpPort), assignment('MAILBOX_PORT', settings.mailboxPort)]
      : ['# SMTP_URL as you have set it']),
    assignment('HOST', host),
    assignment('HTTP_PORT', httpPort),
    assignment('GRPC_PORT', grpcPort),
    assignment('PUBLIC_URL', publicUrl),
    '',
    'ctrl-c stops everything.',
  ].join('\n');
}

/** What was started, which is what the environment names no other for. */
function heading({ databaseUrl, smtpUrl }: StackSettings): string {
  if (databaseUrl !== undefined && smtpUrl !== undefined) return 'Nothing was started: DATABASE_URL and SMTP_URL name others';
  if (databaseUrl !== undefined) return 'The mailbox is running; the database is the one at DATABASE_URL';
  if (smtpUrl !== undefined) return 'Postgres is running; mail goes to SMTP_URL';
  return 'Postgres and the mailbox are running';
}

/** For a shell, which would read some characters of a text as its own. */
function assignment(name: string, value: string | number): string {
  return `export ${name}='${String(value).replaceAll("'", `'\\''`)}'`;
}
