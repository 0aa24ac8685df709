import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMailbox } from './mailbox.ts';
import { say } from './output.ts';
import { claimPorts, type WantedPort } from './ports.ts';
import { endLeftoverPostgres, startPostgres } from './postgres.ts';
import { RunFile } from './run-file.ts';
import type { StackSettings } from './settings.ts';

/** What the apps stand on. */
export interface Foundation {
  /** The environment that leads an app to it. */
  readonly environment: Readonly<Record<'DATABASE_URL' | 'DATABASE_URL_FILE' | 'SMTP_URL' | 'SMTP_URL_FILE', string>> & {
    readonly MAILBOX_URL?: string;
  };
  /** The page that shows the caught mail; a mail server of the user's own has none. */
  readonly mailboxUrl: string | undefined;
  readonly runFile: RunFile;
}

function postgresDir(settings: StackSettings): string {
  return join(settings.dataDir, 'postgres');
}

/** Runs Postgres until `stopping`, and starts it again when it ends by itself. */
async function keepPostgres(settings: StackSettings, stopping: AbortSignal, resources: AsyncDisposableStack): Promise<string> {
  const options = { dataDir: postgresDir(settings), port: settings.postgresPort, say };
  let server = await startPostgres(options);
  const { url } = server;
  const watch = async () => {
    await server.exited;
    while (!stopping.aborted) {
      say('Postgres ended by itself: starting it again');
      await sleep(1_000);
      if (stopping.aborted) return;
      try {
        server = await startPostgres(options);
        if (stopping.aborted) await server.stop();
        await server.exited;
      } catch (error) {
        say(String(error));
      }
    }
  };
  const watching = watch();
  resources.defer(async () => {
    await server.stop();
    await watching;
  });
  return url;
}

/**
 * Starts Postgres and the mailbox, unless the environment names others.
 * Leftovers of a run that was killed are ended first.
 *
 * @param appPorts the ports that the apps will need: they are claimed along with ours.
 * @param stopping aborted before `resources` are disposed of.
 * @throws Error when a port is taken or another run uses the data directory.
 */
export async function openFoundation(
  settings: StackSettings,
  appPorts: readonly WantedPort[],
  stopping: AbortSignal,
  resources: AsyncDisposableStack,
): Promise<Foundation> {
  const { dataDir, databaseUrl, smtpUrl } = settings;
  const runFile = await RunFile.open(dataDir, say);
  resources.defer(() => runFile.close());
  if (databaseUrl === undefined) await endLeftoverPostgres(postgresDir(settings), say);
  await claimPorts([
    ...appPorts,
    ...(smtpUrl === undefined
      ? [
          { variable: 'MAILBOX_PORT', port: settings.mailboxPort },
          { variable: 'SMTP_PORT', port: settings.smtpPort },
        ]
      : []),
    ...(databaseUrl === undefined ? [{ variable: 'POSTGRES_PORT', port: settings.postgresPort }] : []),
  ]);
  const url = databaseUrl ?? (await keepPostgres(settings, stopping, resources));
  stopping.throwIfAborted();
  // What was in a file is read by now.
  const environment = { DATABASE_URL: url, DATABASE_URL_FILE: '', SMTP_URL_FILE: '' };
  if (smtpUrl !== undefined) return { environment: { ...environment, SMTP_URL: smtpUrl }, mailboxUrl: undefined, runFile };

  const mailbox = await startMailbox({
    smtpPort: settings.smtpPort,
    webPort: settings.mailboxPort,
    directory: join(dataDir, 'mail'),
  });
  resources.defer(() => mailbox.stop());
  stopping.throwIfAborted();
  return {
    environment: { ...environment, SMTP_URL: mailbox.smtpUrl, MAILBOX_URL: mailbox.webUrl },
    mailboxUrl: mailbox.webUrl,
    runFile,
  };
}
