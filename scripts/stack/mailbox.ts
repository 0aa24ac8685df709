import { MailDev } from 'maildev';

/** Where the mailbox listens, and keeps what it caught. */
export interface MailboxOptions {
  readonly smtpPort: number;
  readonly webPort: number;
  readonly directory: string;
}

/** A running mailbox. */
export interface Mailbox {
  readonly smtpUrl: string;
  readonly webUrl: string;
  stop(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
const STOP_PATIENCE = 3_000;

/** Catches every mail that the apps send and shows it on a web page (its JSON: `/api/email`). */
export async function startMailbox({ smtpPort, webPort, directory }: MailboxOptions): Promise<Mailbox> {
  const mailbox = new MailDev({
    smtp: smtpPort,
    ip: LOOPBACK,
    web: webPort,
    webIp: LOOPBACK,
    mailDirectory: directory,
    maxEmails: 1_000,
    silent: true,
  });
  // It announces its web page even when told to be silent.
  const { info } = console;
  console.info = () => undefined;
  try {
    await mailbox.start();
  } finally {
    console.info = info;
  }
  return {
    smtpUrl: `smtp://${LOOPBACK}:${smtpPort}`,
    webUrl: `http://localhost:${webPort}`,
    async stop() {
      // It waits for its connections, and a browser tab may keep one for as long as it likes.
      let patience: NodeJS.Timeout | undefined;
      await Promise.race([mailbox.stop(), new Promise((resolve) => (patience = setTimeout(resolve, STOP_PATIENCE)))]);
      clearTimeout(patience);
    },
  };
}
