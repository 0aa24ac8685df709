import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { simpleParser } from 'mailparser';
import { SMTPServer, type SMTPServerSession } from 'smtp-server';
import type { History } from './history.ts';

/**
 * `well`; `refusing`: a temporary error for every mail; `rejecting`: a
 * permanent one; `hanging`: connections are taken and nobody speaks;
 * `dropping`: the mail is taken, and the connection ends before the answer.
 */
export type MailMood = 'well' | 'refusing' | 'rejecting' | 'hanging' | 'dropping';

/** A mail server on the loopback interface that can be told to misbehave. */
export class MailServer {
  mood: MailMood = 'well';
  /** Milliseconds that a mail takes. */
  delay = 50;
  private readonly history: History;
  private readonly sockets = new Map<string, Socket>();
  private readonly front: Server;
  private readonly smtp: SMTPServer;

  private constructor(history: History) {
    this.history = history;
    this.smtp = new SMTPServer({
      authOptional: true,
      disabledCommands: ['STARTTLS', 'AUTH'],
      logger: false,
      onMailFrom: (_address, _session, done) => done(this.mood === 'refusing' ? refusal(451) : undefined),
      onRcptTo: (_address, _session, done) => done(this.mood === 'rejecting' ? refusal(550) : undefined),
      onData: (stream, session, done) => void this.take(stream, session, done),
    });
    this.smtp.on('error', () => undefined);
    // In front of it, because the server itself greets every connection.
    this.front = createServer((socket) => {
      socket.on('error', () => undefined);
      if (this.mood === 'hanging') {
        socket.on('data', () => undefined);
        return;
      }
      this.sockets.set(String(socket.remotePort), socket);
      socket.once('close', () => this.sockets.delete(String(socket.remotePort)));
      (this.smtp as unknown as { connect(socket: Socket, socketOptions: object): void }).connect(socket, {});
    });
  }

  static async start(history: History): Promise<MailServer> {
    const server = new MailServer(history);
    await new Promise<void>((resolve, reject) => {
      server.front.once('error', reject);
      server.front.listen(0, '127.0.0.1', resolve);
    });
    return server;
  }

  get url(): string {
    return `smtp://127.0.0.1:${(this.front.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets.values()) socket.destroy();
    await new Promise<void>((resolve) => {
      this.front.close(() => resolve());
      setTimeout(resolve, 500).unref();
    });
  }

  private async take(stream: NodeJS.ReadableStream, session: SMTPServerSession, done: (error?: Error | null) => void): Promise<void> {
    try {
      const mail = await simpleParser(stream as Parameters<typeof simpleParser>[0]);
      await new Promise((resolve) => setTimeout(resolve, this.delay));
      const answered = this.mood !== 'dropping';
      this.history.add({
        kind: 'mail',
        to: session.envelope.rcptTo[0]?.address ?? '',
        messageId: mail.messageId ?? '',
        link: /https?:\S+/.exec(mail.text ?? '')?.[0] ?? '',
        answered,
      });
      if (answered) done();
      else this.sockets.get(String(session.remotePort))?.destroy();
    } catch (error) {
      done(error as Error);
    }
  }
}

function refusal(responseCode: number): Error {
  return Object.assign(new Error('not now, or not here'), { responseCode });
}
