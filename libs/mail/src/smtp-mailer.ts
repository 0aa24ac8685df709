import type { OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '@app/config';
import { faultPoint } from '@app/faults';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { createTransport, type Transporter } from 'nodemailer';
import type { SMTPPoolSentMessageInfo } from 'nodemailer/lib/smtp-pool';
import pLimit, { type LimitFunction } from 'p-limit';
import { type Mail, Mailer, MailerBusy, MailRefused } from './mailer.js';

/** Milliseconds. The first covers all of setting a connection up, the third any one silence of the server. */
const TIMEOUTS = { connectionTimeout: 5_000, greetingTimeout: 5_000, socketTimeout: 10_000, dnsTimeout: 5_000 };

export interface SmtpMailerOptions {
  /** How many connections there are at most, each with one mail at a time. */
  connections?: number;
  /** How long a mail waits for a free connection, in milliseconds. */
  patience?: number;
}

/**
 * Sends through the server of `SMTP_URL`, over pooled connections.
 *
 * A mail is handed to nodemailer only when a connection is free. One that waits
 * leaves when its signal aborts; one that is under way has its connection ended.
 */
export class SmtpMailer extends Mailer implements OnApplicationShutdown {
  private readonly transport: Transporter<SMTPPoolSentMessageInfo>;
  private readonly onFreeConnection: LimitFunction;
  private readonly patience: number;

  constructor(
    private readonly config: Config,
    { connections = 5, patience = 10_000 }: SmtpMailerOptions = {},
  ) {
    super();
    const url = new URL(config.SMTP_URL);
    this.patience = patience;
    this.onFreeConnection = pLimit(connections);
    this.transport = createTransport({
      pool: true,
      maxConnections: connections,
      host: url.hostname,
      port: Number(url.port) || (url.protocol === 'smtps:' ? 465 : 587),
      secure: url.protocol === 'smtps:',
      // Where STARTTLS is required it comes before the log-in and the mail. A certificate is checked wherever there is one.
      requireTLS: config.SMTP_TLS === 'required',
      ignoreTLS: config.SMTP_TLS === 'off',
      ...(url.username && { auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } }),
      disableFileAccess: true,
      disableUrlAccess: true,
      // What an ended attempt has written, and the kernel has not, must not go out after it.
      socketCloseTimeout: 0,
      ...TIMEOUTS,
    });
  }

  async send(mail: Mail, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await this.inTurn(signal, async () => {
      await this.traced(async () => {
        try {
          // As an object: a text would be read as a list of addresses.
          const to = { name: '', address: mail.to };
          await this.transport.sendMail({ from: this.config.MAIL_FROM, ...mail, to, signal });
        } catch (error) {
          signal?.throwIfAborted();
          throw withoutAddresses(error);
        }
      });
    });
    await faultPoint('mail.after-accepted');
  }

  /** Ends what is under way, and refuses what still waits. */
  onApplicationShutdown(): void {
    this.transport.close({ force: true });
  }

  /** Says in the trace of whoever sends that a mail was handed over: to which server, and nothing of the mail. */
  private traced(work: () => Promise<void>): Promise<void> {
    const { hostname, port } = new URL(this.config.SMTP_URL);
    const attributes = { 'network.protocol.name': 'smtp', 'server.address': hostname, ...(port !== '' && { 'server.port': Number(port) }) };
    return trace.getTracer('waybill.mail').startActiveSpan('send mail', { kind: SpanKind.CLIENT, attributes }, async (span) => {
      try {
        await work();
      } catch (error) {
        span.setAttribute('error.type', (error as Error).name);
        span.setStatus({ code: SpanStatusCode.ERROR, message: (error as Error).message });
        throw error;
      } finally {
        span.end();
      }
    });
  }

  /** Runs `work` when a connection is free, unless that takes too long, or is no longer wanted. */
  private inTurn(signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      let waiting = true;
      const stopWaiting = () => {
        waiting = false;
        clearTimeout(timer);
        signal?.removeEventListener('abort', leave);
      };
      const leave = () => {
        stopWaiting();
        reject(signal?.aborted ? signal.reason : new MailerBusy(this.patience));
      };
      const timer = setTimeout(leave, this.patience);
      signal?.addEventListener('abort', leave);
      void this.onFreeConnection(async () => {
        if (!waiting) return;
        stopWaiting();
        await work().then(resolve, reject);
      });
    });
  }
}

/** The commands whose refusal speaks of this mail; a refused log-in or greeting is for an operator to mend, and may pass. */
const ABOUT_THE_MAIL = new Set(['RCPT TO', 'DATA']);

/** nodemailer's errors carry the envelope and repeat the address in the server's answer: keep the codes alone. */
function withoutAddresses(error: unknown): Error {
  const { code, originalCode, command = 'an unknown command', responseCode } = error as SendError;
  if (responseCode !== undefined && responseCode >= 500 && ABOUT_THE_MAIL.has(command)) {
    return new MailRefused(`the mail server refused the mail: ${responseCode} at ${command}`);
  }
  const what = [originalCode ?? code ?? 'unknown', responseCode, 'at', command].filter((word) => word !== undefined).join(' ');
  const hint = code === 'ETLS' ? ': no TLS, and nothing is sent without it (see SMTP_TLS)' : '';
  return Object.assign(new Error(`the mail could not be sent: ${what}${hint}`), { code });
}

/** An error of nodemailer: its own code, the system's or OpenSSL's where it came from there, and what the server said to which command. */
interface SendError {
  readonly code?: string;
  readonly originalCode?: string;
  readonly command?: string;
  readonly responseCode?: number;
}
