import { randomUUID } from 'node:crypto';
import { Test } from '@nestjs/testing';
import { AccountModule, AccountService, SendVerificationEmail } from '@app/account';
import { Config, ConfigModule } from '@app/config';
import { DatabaseModule } from '@app/database';
import { type Mail, Mailer, MailerBusy } from '@app/mail';
import { TaskTestKit, TasksTestingModule } from '@app/tasks/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SmtpMailer, type SmtpMailerOptions } from '../../libs/mail/src/smtp-mailer.js';
import { createDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { MailServer, type Reaction } from '../support/mail-server.js';
import { somebody } from '../support/people.js';

/** Milliseconds: longer than any test. */
const STUCK = 60_000;

/** The mailer and a mail server that takes its time. */
describe('a slow mail server', () => {
  let server: MailServer;
  const mailers: SmtpMailer[] = [];
  beforeEach(async () => {
    server = await MailServer.start();
  });
  afterEach(async () => {
    for (const mailer of mailers.splice(0)) mailer.onApplicationShutdown();
    await server.close();
  });

  const start = (options?: SmtpMailerOptions) => {
    const mailer = new SmtpMailer(Config.parse({ SMTP_URL: server.url }), options);
    mailers.push(mailer);
    return mailer;
  };
  const mailFor = (name: string): Mail => ({
    to: `${name}@example.com`,
    subject: 'hello',
    text: 'hello',
    html: '<p>hello</p>',
    messageId: `<${randomUUID()}@waybill.test>`,
  });
  const people = (count: number, reaction: Reaction, name = 'person') =>
    Array.from({ length: count }, (_, index) => {
      server.when(`${name}${index}@example.com`, reaction);
      return mailFor(`${name}${index}`);
    });
  const accepted = () => server.mails.map(({ to }) => to);
  /** How each of the sends has ended: with the name of its error, or well. */
  const ends = async (sends: readonly Promise<void>[]) =>
    (await Promise.allSettled(sends)).map((end) => (end.status === 'fulfilled' ? 'sent' : (end.reason as Error).name));

  it('gets every mail once, and no more at a time than there are connections', async () => {
    const mailer = start();
    const mails = people(40, { delay: 50, at: 'data' });
    expect(new Set(await ends(mails.map((mail) => mailer.send(mail))))).toEqual(new Set(['sent']));
    expect(accepted().toSorted()).toEqual(mails.map(({ to }) => to).toSorted());
    expect(server.mostConnections).toBe(5);
  });

  it('gets no mail whose attempt has ended while it waited', async () => {
    const mailer = start({ connections: 2 });
    const attempt = new AbortController();
    const first = people(2, { delay: 300, at: 'data' }, 'first').map((mail) => mailer.send(mail));
    const late = people(10, 'accept', 'late').map((mail) => mailer.send(mail, attempt.signal));
    await eventually(() => server.tries.length === 2);
    attempt.abort(new TypeError('the attempt has ended'));
    expect(new Set(await ends(late)), 'they leave at once').toEqual(new Set(['TypeError']));
    expect(accepted(), 'while the others are under way').toHaveLength(2);
    expect(await ends(first)).toEqual(['sent', 'sent']);
    await mailer.send(mailFor('next'));
    expect(server.tries.map(({ to }) => to)).toEqual(['first0@example.com', 'first1@example.com', 'next@example.com']);
  });

  it('gets no mail whose attempt has ended while it was under way, and the next one over another connection', async () => {
    const mailer = start({ connections: 1 });
    const attempt = new AbortController();
    const [mail] = people(1, { delay: STUCK, at: 'recipient' }, 'slow');
    const send = mailer.send(mail!, attempt.signal);
    await eventually(() => server.triesTo('slow0@example.com').length === 1);
    attempt.abort(new TypeError('the attempt has ended'));
    expect(await ends([send])).toEqual(['TypeError']);
    await mailer.send(mailFor('next'));
    expect(accepted()).toEqual(['next@example.com']);
    expect(server.triesTo('slow0@example.com'), 'and it is not tried again').toHaveLength(1);
    expect(server.connections).toBe(1);
  });

  it('keeps nobody waiting for a connection for ever: the mail may be sent later, and was not handed over', async () => {
    const mailer = start({ connections: 1, patience: 100 });
    const [holder] = people(1, { delay: STUCK, at: 'recipient' }, 'holder');
    const attempt = new AbortController();
    const held = mailer.send(holder!, attempt.signal);
    await eventually(() => server.tries.length === 1);
    await expect(mailer.send(mailFor('impatient'))).rejects.toThrow(new MailerBusy(100));
    attempt.abort();
    await ends([held]);
    await mailer.send(mailFor('next'));
    expect(accepted()).toEqual(['next@example.com']);
  });

  it('costs a verification mail none of its retries while it waits for a connection', async () => {
    const database = await createDatabase();
    const config = Config.parse({ DATABASE_URL: database.url, SMTP_URL: server.url, VERIFY_EMAIL_DELAY: '0s' });
    const mailer = start({ connections: 1, patience: 100 });
    const app = await Test.createTestingModule({
      imports: [ConfigModule.forRoot(config), DatabaseModule.forRoot(), TasksTestingModule.forRoot(config.tasks), AccountModule],
      providers: [SendVerificationEmail, { provide: Mailer, useValue: mailer }],
    }).compile();
    await app.init();
    try {
      const [holder] = people(1, { delay: STUCK, at: 'recipient' }, 'holder');
      const attempt = new AbortController();
      const held = mailer.send(holder!, attempt.signal);
      await eventually(() => server.tries.length === 1);
      const person = somebody();
      await app.get(AccountService).signUp(person);
      expect(await app.get(TaskTestKit).drain()).toMatchObject([{ outcome: 'snooze' }]);
      expect(await database.query('SELECT state, failures FROM task')).toEqual([{ state: 'pending', failures: 0 }]);
      attempt.abort();
      await ends([held]);
      app.get(TaskTestKit).advance('15s');
      expect(await app.get(TaskTestKit).drain()).toMatchObject([{ outcome: 'completed' }]);
      expect(accepted()).toEqual([person.email]);
    } finally {
      await app.close();
      await database.drop();
    }
  });

  it('gets nothing more once the mailer is closed, and what is under way ends', async () => {
    const mailer = start({ connections: 2 });
    const sends = people(6, { delay: STUCK, at: 'recipient' }).map((mail) => mailer.send(mail));
    await eventually(() => server.tries.length === 2);
    mailer.onApplicationShutdown();
    expect(await ends(sends)).toEqual(Array.from({ length: 6 }, () => 'Error'));
    await eventually(() => server.connections === 0);
    expect([accepted(), server.tries.length]).toEqual([[], 2]);
  });

  it('may close connections that are idle: the next mail goes out over a new one', async () => {
    const mailer = start({ connections: 1 });
    await mailer.send(mailFor('before'));
    await server.close();
    await server.open();
    await mailer.send(mailFor('after'));
    expect(accepted()).toEqual(['before@example.com', 'after@example.com']);
  });
});
