import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { simpleParser } from 'mailparser';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { eventually } from './eventually.js';
import { freePort } from '../../scripts/stack/ports.ts';

/** A mail as it came in, whether it was accepted or not. */
export interface ReceivedMail {
  readonly to: string;
  /** The name that its header gives to whom it is for. */
  readonly recipient: string;
  readonly messageId: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  /** The first address of our page in its text. */
  readonly link: string;
  readonly token: string;
}

/**
 * What the server does with a mail for somebody: takes it, refuses it with a
 * code (its text repeats the address, as servers do), never answers, or cuts
 * the connection; or takes it after so many milliseconds, which it needs before
 * it has the mail or with all of it in hand. A function runs before the mail is accepted.
 */
export type Reaction =
  | 'accept'
  | 'hang'
  | 'drop'
  | { readonly refuse: number; readonly at: 'recipient' | 'data' }
  | { readonly delay: number; readonly at: 'recipient' | 'data' }
  | ((mail: ReceivedMail) => void | Promise<void>);

/** Of `localhost` and 127.0.0.1, signed by itself, with its key: whoever is given it as NODE_EXTRA_CA_CERTS believes the tests' servers. */
export const CERTIFICATE = join(import.meta.dirname, 'tls/certificate.pem');
export const KEY = join(import.meta.dirname, 'tls/key.pem');

/** Whether a server speaks TLS: after STARTTLS, from the beginning, or not at all. */
export type MailServerTls = 'starttls' | 'smtps' | 'none';

/** A real SMTP server that does to each recipient's mail what a test wants. */
export class MailServer {
  /** The mails that were accepted. */
  readonly mails: ReceivedMail[] = [];
  /** Every try to deliver one, accepted or not; those that were refused, or delayed, at the recipient have no content there. */
  readonly tries: { readonly to: string; readonly mail?: ReceivedMail }[] = [];
  /** What clients wrote in the clear, log-ins included. */
  clearText = '';
  /** The user names that were logged in with. */
  readonly logIns: string[] = [];
  /** The most connections that there ever were at once. */
  mostConnections = 0;
  private readonly reactions = new Map<string, Reaction>();
  private server: SMTPServer | undefined;
  private sockets = new Map<number, Socket>();

  private constructor(
    readonly port: number,
    private readonly tls: MailServerTls,
  ) {}

  static async start(tls: MailServerTls = 'none'): Promise<MailServer> {
    const server = new MailServer(await freePort(), tls);
    await server.open();
    return server;
  }

  get url(): string {
    return `${this.tls === 'smtps' ? 'smtps' : 'smtp'}://127.0.0.1:${this.port}`;
  }

  /** From now on, mail to this address is treated so. */
  when(address: string, reaction: Reaction): void {
    this.reactions.set(address.toLowerCase(), reaction);
  }

  mailsTo(address: string): ReceivedMail[] {
    return this.mails.filter((mail) => mail.to === address.toLowerCase());
  }

  triesTo(address: string): { readonly mail?: ReceivedMail }[] {
    return this.tries.filter((attempt) => attempt.to === address.toLowerCase());
  }

  /** Waits for the nth accepted mail to an address, the first by default. */
  mailTo(address: string, nth = 1, within = 30_000): Promise<ReceivedMail> {
    return eventually(() => this.mailsTo(address)[nth - 1], within);
  }

  /** Listens, on the same port as before. */
  async open(): Promise<void> {
    const server = new SMTPServer({
      ...(this.tls === 'none' ? { disabledCommands: ['STARTTLS'] } : { key: readFileSync(KEY), cert: readFileSync(CERTIFICATE) }),
      secure: this.tls === 'smtps',
      authOptional: true,
      allowInsecureAuth: true,
      onAuth: ({ username = '' }, _session, done) => {
        this.logIns.push(username);
        done(null, { user: username });
      },
      disableReverseLookup: true,
      onRcptTo: ({ address }, _session, done) => {
        const reaction = this.reactionTo(address);
        if (typeof reaction === 'object' && reaction.at === 'recipient') {
          this.tries.push({ to: address.toLowerCase() });
          if ('refuse' in reaction) return done(refusal(reaction.refuse, address));
          setTimeout(done, reaction.delay).unref();
          return;
        }
        done();
      },
      onData: (stream, session, done) => void this.receive(stream, session, done),
    });
    server.on('error', () => undefined);
    server.server.on('connection', (socket: Socket) => {
      const { remotePort = 0 } = socket;
      this.sockets.set(remotePort, socket);
      if (this.tls !== 'smtps') socket.on('data', (chunk) => (this.clearText += chunk.toString('latin1')));
      this.mostConnections = Math.max(this.mostConnections, this.sockets.size);
      socket.once('close', () => this.sockets.delete(remotePort));
    });
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.server = server;
  }

  /** Goes down, with all of its connections. */
  async close(): Promise<void> {
    const { server } = this;
    if (!server) return;
    this.server = undefined;
    const closed = new Promise<void>((resolve) => server.close(resolve));
    for (const socket of this.sockets.values()) socket.destroy();
    await closed;
  }

  /** How many connections there are. */
  get connections(): number {
    return this.sockets.size;
  }

  private reactionTo(address: string): Reaction {
    return this.reactions.get(address.toLowerCase()) ?? 'accept';
  }

  private async receive(stream: SMTPServerDataStream, session: SMTPServerSession, done: (error?: Error | null) => void): Promise<void> {
    const address = session.envelope.rcptTo[0]?.address ?? '';
    const mail = await parse(stream, address.toLowerCase()).catch((error: { code?: string }) => {
      // Who sent it was killed in the midst of it: that is no mail.
      if (error.code !== 'ECONNECTION') throw error;
    });
    if (!mail) return;
    this.tries.push({ to: mail.to, mail });
    const reaction = this.reactionTo(address);
    if (reaction === 'hang') return;
    if (reaction === 'drop') {
      this.sockets.get(session.remotePort)?.destroy();
      return;
    }
    if (typeof reaction === 'object' && 'refuse' in reaction) return done(refusal(reaction.refuse, address));
    this.mails.push(mail);
    if (typeof reaction === 'object' && reaction.at === 'data') await sleep(reaction.delay, undefined, { ref: false });
    if (typeof reaction === 'function') await reaction(mail);
    done();
  }
}

function refusal(responseCode: number, address: string): Error {
  return Object.assign(new Error(`<${address}>: not today`), { responseCode });
}

async function parse(stream: SMTPServerDataStream, to: string): Promise<ReceivedMail> {
  const { messageId = '', subject = '', text = '', html, to: header } = await simpleParser(stream, { skipTextToHtml: true });
  const [link = '', token = ''] = /https?:\/\/\S+\/[a-z-]+\?token=([\w-]+)/.exec(text) ?? [];
  const recipient = [header ?? []]
    .flat()
    .flatMap(({ value }) => value.map(({ name }) => name))
    .join(', ');
  return { to, recipient, messageId, subject, text, html: html || '', link, token };
}
