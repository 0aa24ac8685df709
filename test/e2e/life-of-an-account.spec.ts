import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SessionService, UserService } from '@app/contract';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mailbox, startMailbox } from '../../scripts/stack/mailbox.ts';
import { freePort } from '../../scripts/stack/ports.ts';
import { executablePath, explainMissingBrowser } from '../support/browser.js';
import { type Caller, Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { changeEmail, createUser, deleteUser, getUser } = UserService.method;
const { createSession } = SessionService.method;

explainMissingBrowser('the life of an account');

describe.skipIf(executablePath === undefined)('the life of an account', () => {
  let waybill: Waybill;
  /** The one of `make start`, in which a person reads their mail. */
  let mailbox: Mailbox;
  let mailDirectory: string;
  let browser: Browser;
  let context: BrowserContext;
  let callers: readonly [Caller, Caller];

  beforeAll(async () => {
    mailDirectory = await mkdtemp(join(tmpdir(), 'waybill-mailbox-'));
    mailbox = await startMailbox({ smtpPort: await freePort(), webPort: await freePort(), directory: mailDirectory });
    const httpPort = await freePort();
    waybill = await Waybill.start('postgres', {
      environment: { HTTP_PORT: String(httpPort), SMTP_URL: mailbox.smtpUrl, PUBLIC_URL: `http://waybill.localhost:${httpPort}/accounts` },
    });
    callers = waybill.callers;
    browser = await chromium.launch({
      executablePath: executablePath!,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--host-resolver-rules=MAP waybill.localhost 127.0.0.1',
      ],
    });
    // Our pages need no scripts; the mailbox does, and is the only one that may have them.
    context = await browser.newContext({ viewport: { width: 1024, height: 768 } });
    await context.route(`http://waybill.localhost:${httpPort}/**`, async (route) => {
      expect(route.request().resourceType()).not.toBe('script');
      await route.continue();
    });
  });
  afterAll(async () => {
    await browser?.close();
    await waybill?.close();
    await mailbox?.stop();
    await rm(mailDirectory, { recursive: true, force: true });
  });

  /** The subjects of the mails to an address, the oldest first. */
  async function subjectsTo(email: string): Promise<string[]> {
    const response = await fetch(`${mailbox.webUrl}/api/email?to.address=${encodeURIComponent(email)}`);
    return ((await response.json()) as { subject: string }[]).map(({ subject }) => subject);
  }

  /** Opens the mail that came last to an address in the mailbox, and follows its button to our page. */
  async function follow(email: string, nth: number, subject: string, button: string): Promise<Page> {
    await eventually(async () => (await subjectsTo(email)).length === nth);
    expect((await subjectsTo(email)).at(-1)).toBe(subject);
    const mails = await context.newPage();
    await mails.goto(mailbox.webUrl);
    await mails.getByText(subject, { exact: true }).first().click();
    const opened = context.waitForEvent('page');
    await mails.frameLocator('iframe').getByRole('link', { name: button, exact: true }).click();
    const page = await opened;
    await mails.close();
    return page;
  }

  /** Clicks a button, and closes the page once it says what it did. */
  async function click(page: Page, button: string, heading: string): Promise<void> {
    await page.getByRole('button', { name: button }).click();
    await page.getByRole('heading', { name: heading }).waitFor();
    await page.close();
  }

  it('from its sign-up to its last mail', { timeout: 180_000 }, async () => {
    const [http, grpc] = callers;
    const person = somebody();
    const { username, email, password } = person;
    const login = { login: email, password };

    // Signing up, and proving that the address is one's own.
    expect((await http.call(createUser, person)).code).toBe(Code.OK);
    expect((await grpc.call(createSession, { login: username, password })).code).toBe(Code.FAILED_PRECONDITION);
    expect((await grpc.call(createSession, login)).code).toBe(Code.UNAUTHENTICATED);
    const verifyPage = await follow(email, 1, 'Confirm your e-mail address', 'Confirm e-mail address');
    await verifyPage.getByText(username).waitFor();
    await click(verifyPage, 'Verify my e-mail address', 'Your e-mail address is verified');

    // Logging in, from two places.
    const laptop = (await logIn(http, { username, login: email, password })).headers;
    const phone = (await logIn(grpc, { username, password })).headers;
    for (const [caller, headers] of [
      [grpc, laptop],
      [http, phone],
    ] as const) {
      expect((await caller.call(getUser, {}, headers)).response?.user).toMatchObject({ username, email, isEmailVerified: true });
    }

    // Forgetting the password, and choosing another one: both places are logged out.
    const start = await context.newPage();
    await start.goto(`${waybill.environment['PUBLIC_URL']}/`);
    await start.getByRole('link', { name: 'Choose a new password' }).click();
    await start.getByLabel('E-mail address').fill(email);
    await click(start, 'Mail me a link', 'Look into your mailbox');
    const resetPage = await follow(email, 2, 'Choose a new password', 'Choose a new password');
    await resetPage.getByText(username).waitFor();
    const newPassword = 'a new and better one';
    await resetPage.getByLabel('New password').fill('password1');
    await resetPage.getByRole('button', { name: 'Set the new password' }).click();
    await resetPage.getByText('It is one of the most used passwords.').waitFor();
    await resetPage.getByLabel('New password').fill(newPassword);
    await click(resetPage, 'Set the new password', 'Your password is changed');
    await eventually(async () => (await subjectsTo(email)).at(-1) === 'Your password was changed');
    for (const headers of [laptop, phone]) expect((await http.call(getUser, {}, headers)).code).toBe(Code.UNAUTHENTICATED);
    expect((await http.call(createSession, login)).code).toBe(Code.UNAUTHENTICATED);

    // Somebody else learns the new password, and takes the account to an address of theirs.
    const thief = (await logIn(grpc, { username, password: newPassword })).headers;
    const theirs = somebody().email;
    expect((await grpc.call(changeEmail, { newEmail: theirs, currentPassword: newPassword }, thief)).code).toBe(Code.OK);
    const changePage = await follow(theirs, 1, 'Confirm your new e-mail address', 'Confirm new e-mail address');
    await changePage.getByText(username).waitFor();
    await click(changePage, 'Verify my e-mail address', 'Your e-mail address is verified');
    expect((await http.call(getUser, {}, thief)).response?.user?.email).toBe(theirs);

    // The owner is told, takes the address back, and with it the account.
    const undoPage = await follow(email, 4, 'The e-mail address of your account was changed', 'Take my address back');
    await undoPage.getByText(username).waitFor();
    await click(undoPage, 'Take my address back', 'Your e-mail address is back');
    expect((await http.call(getUser, {}, thief)).code).toBe(Code.UNAUTHENTICATED);
    expect((await grpc.call(createSession, { login: username, password: newPassword })).code).toBe(Code.UNAUTHENTICATED);
    const again = await follow(email, 5, 'Choose a new password', 'Choose a new password');
    const lastPassword = 'nobody else knows this one';
    await again.getByLabel('New password').fill(lastPassword);
    await click(again, 'Set the new password', 'Your password is changed');

    // Another address, of one's own free will.
    const home = (await logIn(http, { username, login: email, password: lastPassword })).headers;
    const newEmail = somebody().email;
    expect((await http.call(changeEmail, { newEmail, currentPassword: lastPassword }, home)).code).toBe(Code.OK);
    const moved = await follow(newEmail, 1, 'Confirm your new e-mail address', 'Confirm new e-mail address');
    await click(moved, 'Verify my e-mail address', 'Your e-mail address is verified');
    expect((await grpc.call(getUser, {}, home)).response?.user).toMatchObject({ username, email: newEmail });

    // The end.
    expect((await grpc.call(deleteUser, { currentPassword: lastPassword }, home)).code).toBe(Code.OK);
    await eventually(async () => (await subjectsTo(newEmail)).at(-1) === 'Your account was deleted');
    expect((await http.call(getUser, {}, home)).code).toBe(Code.UNAUTHENTICATED);
    expect((await http.call(createSession, { login: newEmail, password: lastPassword })).code).toBe(Code.UNAUTHENTICATED);
    expect(await waybill.database.query('SELECT FROM users')).toEqual([]);

    const told = await waybill.database.query<{ kind: string }>(
      `SELECT kind FROM account_event WHERE kind NOT LIKE 'session%' ORDER BY id`,
    );
    expect(told.map(({ kind }) => kind)).toEqual([
      'signed_up',
      'email_verified',
      'password_reset_requested',
      'password_reset',
      'email_change_requested',
      'email_changed',
      'email_change_undone',
      'password_reset',
      'email_change_requested',
      'email_changed',
      'user_deleted',
    ]);
  });
});
