import { Config } from '@app/config';
import { UserService } from '@app/contract';
import { afterEach, describe, expect, it } from 'vitest';
import { SmtpMailer } from '../../libs/mail/src/smtp-mailer.js';
import { Code } from '../support/callers.js';
import { CERTIFICATE, MailServer, type MailServerTls } from '../support/mail-server.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const USER = 'waybill-user';
const PASSWORD = 'a-mail-password';

let waybill: Waybill | undefined;
let server: MailServer | undefined;
afterEach(async () => {
  await waybill?.close();
  await server?.close();
  waybill = server = undefined;
});

/** Somebody signs up, in production, where mail goes to such a server, with a log-in. */
async function signUp(tls: MailServerTls, environment: Readonly<Record<string, string>>) {
  server = await MailServer.start(tls);
  const url = new URL(server.url);
  [url.username, url.password] = [USER, PASSWORD];
  waybill = await Waybill.start('postgres', { environment: { SMTP_URL: url.href, SMTP_TLS: '', ...environment } });
  await waybill.retryQuickly();
  const person = somebody();
  expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  return { server, waybill, ...person };
}

describe('mail in production', { timeout: 60_000 }, () => {
  it('has TLS, or does not go out: without it neither log-in nor mail are sent, and the worker says why and tries again', async () => {
    const { server, waybill, email } = await signUp('none', {});
    const failures = (attempt: number) => waybill.worker.line((line) => line.msg === 'task attempt failed' && line['attempt'] === attempt);
    const line = await failures(1);
    expect(line).toMatchObject({ willRetry: true });
    expect((line['err'] as Error).message).toMatch(
      /^the mail could not be sent: ETLS 5\d\d at STARTTLS: no TLS, and nothing is sent without it \(see SMTP_TLS\)$/,
    );
    await failures(2);
    expect(server.tries).toEqual([]);
    expect(server.logIns).toEqual([]);
    expect([...new Set(server.clearText.split('\r\n').map((command) => command.split(' ')[0]))]).toEqual(['EHLO', 'STARTTLS', '']);

    // Another worker is told to do without, and sends what has waited.
    await waybill.worker.stop();
    await waybill.startWorker({ SMTP_TLS: 'off' });
    await server.mailTo(email);
    expect(server.clearText).toContain(email);
  });

  it.each<MailServerTls>(['starttls', 'smtps'])('is sent by %s to a server that proves to be the one, the log-in included', async (tls) => {
    const { server, email } = await signUp(tls, { NODE_EXTRA_CA_CERTS: CERTIFICATE });
    await server.mailTo(email);
    expect(server.logIns).toEqual([USER]);
    expect(server.clearText).not.toMatch(/AUTH|MAIL FROM|RCPT TO/);
  });

  it.each<[MailServerTls, string]>([
    ['starttls', 'required'],
    ['starttls', 'opportunistic'],
    ['smtps', 'required'],
  ])('is not sent by %s, %s, to a server that proves nothing', async (tls, required) => {
    server = await MailServer.start(tls);
    const url = new URL(server.url);
    [url.username, url.password] = [USER, PASSWORD];
    const mailer = new SmtpMailer(Config.parse({ SMTP_URL: url.href, SMTP_TLS: required }));
    const mail = { to: 'somebody@example.com', subject: 'A link', text: 'a link', html: '', messageId: '<1@waybill.test>' };
    await expect(mailer.send(mail)).rejects.toThrow('the mail could not be sent: DEPTH_ZERO_SELF_SIGNED_CERT at CONN');
    mailer.onApplicationShutdown();
    expect([server.tries, server.logIns]).toEqual([[], []]);
  });
});
