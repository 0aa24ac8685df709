import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { isIPv4 } from 'node:net';
import { createAPIServer } from '@maildev/api';
import { registerUI } from '@maildev/ui/server';
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

/**
 * MailDev's page shows a mail in a frame that may not open windows, so a link
 * would load inside of the frame, where a page that refuses to be framed stays
 * empty. With this the frame may open windows, and every link of a mail does.
 */
const LINKS_OPEN_WINDOWS = `<script>
{
  const { setAttribute } = Element.prototype;
  HTMLIFrameElement.prototype.setAttribute = function (name, value) {
    if (/^sandbox$/i.test(name)) value += ' allow-popups allow-popups-to-escape-sandbox';
    if (/^srcdoc$/i.test(name)) value = '<base target="_blank">' + value;
    setAttribute.call(this, name, value);
  };
}
</script>`;

/** No other page may show the mailbox in a frame, or load anything of it. */
const HEADERS = new Headers({
  'content-security-policy': "frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
});

/**
 * Whether a request comes from the mailbox's own page, or from no page at all.
 * Every page in the developer's browser can send requests to this machine: it
 * says its own origin, or the name that it has made point here. The port may
 * be any: a tunnel leads here from one of its own.
 */
function isOwn({ headers: { host = '', origin } }: IncomingMessage): boolean {
  const name = /^(.+?)(:\d+)?$/.exec(host)?.[1] ?? '';
  const isHere = name === 'localhost' || name === '[::1]' || (isIPv4(name) && name.startsWith('127.'));
  return isHere && (origin === undefined || origin === `http://${host}`);
}

/** Catches every mail that the apps send and shows it on a web page (its JSON: `/api/email`). */
export async function startMailbox({ smtpPort, webPort, directory }: MailboxOptions): Promise<Mailbox> {
  const mailDev = new MailDev({
    smtp: smtpPort,
    ip: LOOPBACK,
    disableWeb: true,
    mailDirectory: directory,
    maxEmails: 1_000,
    silent: true,
  });
  await mailDev.start();
  const { storage, smtp } = mailDev.getServers()!;

  const api = createAPIServer({ storage, smtp, cors: { origin: false } });
  await api.registerPlugins();
  await registerUI(api.server);
  api.server.addHook('onSend', async (_request, _reply, payload) =>
    typeof payload === 'string' && payload.startsWith('<!doctype html>')
      ? payload.replace('<head>', `<head>${LINKS_OPEN_WINDOWS}`)
      : payload,
  );
  await api.server.ready();

  // MailDev's own server never listens: what reaches it has passed here. A hook of it would not see the web sockets.
  const web = createServer((request, response) => {
    response.setHeaders(HEADERS);
    if (isOwn(request)) api.server.server.emit('request', request, response);
    else response.writeHead(403).end('This mailbox is for its own page at localhost, and for programs that are no pages.\n');
  });
  web.on('upgrade', (request, socket, head) => {
    if (isOwn(request)) api.server.server.emit('upgrade', request, socket, head);
    else socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
  });
  await once(web.listen(webPort, LOOPBACK), 'listening');

  return {
    smtpUrl: `smtp://${LOOPBACK}:${smtpPort}`,
    webUrl: `http://localhost:${webPort}`,
    async stop() {
      web.close();
      web.closeAllConnections();
      // It waits for its connections, and a sender may keep one for as long as it likes.
      let patience: NodeJS.Timeout | undefined;
      await Promise.race([
        api.stop().then(() => mailDev.stop()),
        new Promise((resolve) => (patience = setTimeout(resolve, STOP_PATIENCE))),
      ]);
      clearTimeout(patience);
    },
  };
}
