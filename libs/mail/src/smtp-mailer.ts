import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Config } from '@app/config';
import { faultPoint } from '@app/faults';
import { createTransport, type Transporter } from 'nodemailer';
import type SMTPPool from 'nodemailer/lib/smtp-pool/index.js';
import { type Mail, Mailer, MailRefused } from './mailer.js';

/** Milliseconds; together they bound one attempt well below a task's timeout. */
const TIMEOUTS = { connectionTimeout: 5_000, greetingTimeout: 5_000, socketTimeout: 10_000, dnsTimeout: 5_000 };

/** Sends through the server of `SMTP_URL`, over pooled connections. */
@Injectable()
export class SmtpMailer extends Mailer implements OnApplicationShutdown {
  private readonly transport: Transporter<SMTPPool.SentMessageInfo>;

  constructor(private readonly config: Config) {
    super();
    const url = new URL(config.SMTP_URL);
    this.transport = createTransport({
      pool: true,
      maxConnections: 5,
      host: url.hostname,
      port: Number(url.port) || (url.protocol === 'smtps:' ? 465 : 587),
      secure: url.protocol === 'smtps:',
      ...(url.username && { auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } }),
      disableFileAccess: true,
      disableUrlAccess: true,
      ...TIMEOUTS,
    });
  }

  async send(mail: Mail, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    try {
      await this.transport.sendMail({ from: this.config.MAIL_FROM, ...mail });
    } catch (error) {
      throw withoutAddresses(error);
    }
    await faultPoint('mail.after-accepted');
  }

  onApplicationShutdown(): void {
    this.transport.close();
  }
}

/** The commands whose refusal speaks of this mail; a refused log-in or greeting is for an operator to mend, and may pass. */
const ABOUT_THE_MAIL = new Set(['RCPT TO', 'DATA']);

/** nodemailer's errors carry the envelope and repeat the address in the server's answer: keep the codes alone. */
function withoutAddresses(error: unknown): Error {
  const { code, command = 'an unknown command', responseCode } = error as { code?: string; command?: string; responseCode?: number };
  if (responseCode !== undefined && responseCode >= 500 && ABOUT_THE_MAIL.has(command)) {
    return new MailRefused(`the mail server refused the mail: ${responseCode} at ${command}`);
  }
  return Object.assign(new Error(`the mail could not be sent: ${code ?? 'unknown'} ${responseCode ?? ''} at ${command}`), { code });
}
