import { UserService } from '@app/contract';
import pg from 'pg';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stack/ports.ts';
import { executablePath, explainMissingBrowser } from '../support/browser.js';
import { Code } from '../support/callers.js';
import { somebody } from '../support/people.js';
import { accountByMail } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { requestPasswordReset, resetPassword } = UserService.method;

explainMissingBrowser('the page for a new password');

let waybill: Waybill;
beforeAll(async () => {
  const httpPort = await freePort();
  waybill = await Waybill.start('postgres', {
    environment: {
      HTTP_PORT: String(httpPort),
      PUBLIC_URL: `http://waybill.localhost:${httpPort}/accounts`,
      DATABASE_STATEMENT_TIMEOUT: '3s',
    },
  });
});
afterAll(() => waybill?.close());

/** Somebody who was mailed a link for a new password. */
async function asked() {
  const person = await accountByMail(waybill);
  await waybill.http.call(requestPasswordReset, { email: person.email });
  return { person, ...(await waybill.mail.mailTo(person.email, 2)) };
}

const hashOf = async ({ username }: { username: string }) =>
  (await waybill.database.query<{ hash: string }>('SELECT password_hash AS hash FROM users WHERE username = $1', [username]))[0]?.hash;
const at = (path: string, init?: RequestInit) => waybill.fetch(path, init);
const form = (fields: Record<string, string>): RequestInit => ({ method: 'POST', body: new URLSearchParams(fields) });
const PASSWORD = 'a new and better one';

describe('the pages', () => {
  it.each([
    ['none', ''],
    ['no token', "'; DROP TABLE users; --"],
    ['a token cut short', 'A'.repeat(42)],
    ['a NUL', '\0'.repeat(43)],
    ['one that nobody was sent', 'A'.repeat(43)],
  ])('ask for no password for a link with %s, but lead to a new one', async (_, token) => {
    for (const response of [
      await at(`/reset-password?${new URLSearchParams({ token })}`),
      await at('/reset-password', form({ token, password: PASSWORD })),
    ]) {
      const page = await response.text();
      expect([response.status, page]).toEqual([400, expect.stringContaining('This link is no longer valid')]);
      expect(page).not.toContain('<form');
      expect(page).toContain('<a class="button" href="reset-password/new">');
    }
  });

  it('change nothing by being opened, as mail scanners do, and work once', async () => {
    const { person, link, token } = await asked();
    const before = await hashOf(person);
    const path = waybill.pathOf(link);
    for (const method of ['GET', 'HEAD', 'GET']) expect((await at(path, { method })).status).toBe(200);
    expect(await hashOf(person)).toBe(before);
    const set = await at('/reset-password', form({ token, password: PASSWORD }));
    expect([set.status, await set.text()]).toEqual([200, expect.stringContaining('Your password is changed')]);
    expect(await hashOf(person)).not.toBe(before);
    expect((await at(path)).status).toBe(400);
    expect((await at('/reset-password', form({ token, password: PASSWORD }))).status).toBe(400);
  });

  it('say what is wrong with a password, never repeat it, and leave the link as it is', async () => {
    const { person, token } = await asked();
    for (const [password, problem] of [
      ['', 'It must be at least 8 characters.'],
      ['password1', 'It is one of the most used passwords.'],
      [person.username, 'It must not be your name or address.'],
      ['x'.repeat(129), 'It must be at most 128 characters.'],
    ] as const) {
      const response = await at('/reset-password', form({ token, password }));
      const page = await response.text();
      expect([response.status, page]).toEqual([400, expect.stringContaining(problem)]);
      if (password !== person.username) expect(page).not.toContain(`"${password || 'never'}"`);
      expect(page).toContain('aria-invalid="true"');
    }
    expect((await waybill.http.call(resetPassword, { token, newPassword: PASSWORD })).code).toBe(Code.OK);
  });

  it('mail a link to whoever has an account, and say the same to everybody', async () => {
    const person = await accountByMail(waybill);
    const answers = [];
    for (const email of [person.email, ` ${somebody().email} `]) {
      const response = await at('/reset-password/new', form({ email }));
      answers.push([response.status, await response.text()]);
    }
    expect(answers[0]).toEqual([200, expect.stringContaining('Look into your mailbox')]);
    expect(answers[1]).toEqual(answers[0]);
    expect((await waybill.mail.mailTo(person.email, 2)).subject).toBe('Choose a new password');
    for (const email of ['', 'nobody', '"><script>@example.com']) {
      const response = await at('/reset-password/new', form({ email }));
      const page = await response.text();
      expect([response.status, page]).toEqual([400, expect.stringContaining('This is not an e-mail address.')]);
      expect(page).not.toContain('<script>');
    }
  });

  it('let a password manager fill them in, and paste', async () => {
    const { link, person } = await asked();
    const page = await (await at(waybill.pathOf(link))).text();
    expect(page).toContain(`<input type="text" name="username" value="${person.username}" autocomplete="username" readonly hidden>`);
    expect(page).toMatch(/<input type="password" id="password" name="password"[^>]* autocomplete="new-password"/);
    expect(page).not.toMatch(/onpaste|<script/i);
  });

  it('load nothing, tell nobody, are framed by nobody, and name no path that only this server knows', async () => {
    const { link } = await asked();
    for (const path of [waybill.pathOf(link), '/reset-password?token=x', '/reset-password/new', '/accounts/reset-password/new']) {
      const response = await at(path);
      expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
      expect(response.headers.get('referrer-policy')).toBe('no-referrer');
      expect(response.headers.get('cache-control')).toBe('no-store');
      expect(await response.text()).not.toMatch(/(action|href)="\//);
    }
  });
});

describe.skipIf(executablePath === undefined)('in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: executablePath!,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--host-resolver-rules=MAP waybill.localhost 127.0.0.1'],
    });
  });
  afterAll(() => browser?.close());

  /** A page, the addresses that it asked for, and what the browser had to say about it. */
  async function visit(options: BrowserContextOptions = {}) {
    const context = await browser.newContext(options);
    const page: Page = await context.newPage();
    const requests: string[] = [];
    const complaints: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    return { page, requests, complaints, [Symbol.asyncDispose]: () => context.close() };
  }

  it('a password is forgotten and replaced, without scripts, from the keyboard, on a small dark screen', async () => {
    const person = await accountByMail(waybill);
    const before = await hashOf(person);
    await using visited = await visit({ javaScriptEnabled: false, colorScheme: 'dark', viewport: { width: 320, height: 560 } });
    const { page, requests, complaints } = visited;
    const expectToFit = async (locator: ReturnType<Page['locator']>) => {
      const box = await locator.boundingBox();
      expect(box!.x).toBeGreaterThanOrEqual(0);
      expect(box!.x + box!.width).toBeLessThanOrEqual(320);
      expect(box!.height).toBeGreaterThanOrEqual(44);
    };

    await page.goto(`${waybill.environment['PUBLIC_URL']}/`);
    await page.getByRole('link', { name: 'Choose a new password' }).click();
    await expectToFit(page.getByLabel('E-mail address'));
    await page.keyboard.press('Tab');
    await page.keyboard.type(person.email);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Look into your mailbox' }).waitFor();

    const { link, token } = await waybill.mail.mailTo(person.email, 2);
    await page.goto(link);
    await page.getByText(person.username).waitFor();
    const field = page.getByLabel('New password');
    await expectToFit(field);
    await expectToFit(page.getByRole('button'));
    expect(await field.getAttribute('type')).toBe('password');
    await page.keyboard.press('Tab');
    await page.keyboard.type('password1');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('It is one of the most used passwords.').waitFor();
    expect(await field.inputValue()).toBe('');
    await field.focus();
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Your password is changed' }).waitFor();
    expect(await hashOf(person)).not.toBe(before);
    expect(page.url()).not.toContain(token);
    await page.getByRole('link', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Waybill is running' }).waitFor();

    await page.goto(link);
    await page.getByRole('link', { name: 'Get a new link' }).click();
    await page.getByRole('heading', { name: 'Choose a new password' }).waitFor();
    const { origin } = new URL(link);
    expect(requests.filter((url) => new URL(url).origin !== origin)).toEqual([]);
    expect(complaints.filter((text) => !/40[04]/.test(text))).toEqual([]);
  });

  it('a too short password is not even sent, and nothing that stands in the address runs', async () => {
    const { link } = await asked();
    await using visited = await visit();
    const { page, requests } = visited;
    await page.goto(link);
    const sent = requests.length;
    await page.getByLabel('New password').fill('short');
    await page.getByRole('button').click();
    expect(await page.locator('input:invalid').count()).toBe(1);
    expect(requests).toHaveLength(sent);
    const hostile = `"><script>document.title = 'owned'</script>`;
    await page.goto(`${waybill.environment['PUBLIC_URL']}/reset-password?token=${encodeURIComponent(hostile)}`);
    expect(await page.title()).toBe('This link is no longer valid · Waybill');
    expect(await page.locator('script').count()).toBe(0);
  });
});

it('the pages ask to try again while the database cannot serve, and the link is still fine then', async () => {
  const { link, token } = await asked();
  const client = new pg.Client({ connectionString: waybill.database.url });
  await client.connect();
  try {
    // Whoever asks waits for its statement's limit.
    await client.query('BEGIN; LOCK TABLE account_link');
    for (const response of await Promise.all([at(waybill.pathOf(link)), at('/reset-password', form({ token, password: PASSWORD }))])) {
      const page = await response.text();
      expect([response.status, page]).toEqual([503, expect.stringContaining('Your link is still fine')]);
      expect(page).toContain(`href="reset-password?token=${token}"`);
    }
  } finally {
    await client.end();
  }
  expect((await at('/reset-password', form({ token, password: PASSWORD }))).status).toBe(200);
  // The mails of all these are not to be cut off in the middle.
  await waybill.idle();
});
