import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserService } from '@app/contract';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mailbox, startMailbox } from '../../scripts/stack/mailbox.ts';
import { freePort } from '../../scripts/stack/ports.ts';
import { executablePath, explainMissingBrowser } from '../support/browser.js';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

explainMissingBrowser('the verify page');

let waybill: Waybill;
/** The one of `make start`. */
let mailbox: Mailbox;
let mailDirectory: string;

beforeAll(async () => {
  mailDirectory = await mkdtemp(join(tmpdir(), 'waybill-mailbox-'));
  mailbox = await startMailbox({ smtpPort: await freePort(), webPort: await freePort(), directory: mailDirectory });
  const httpPort = await freePort();
  waybill = await Waybill.start('postgres', {
    environment: { HTTP_PORT: String(httpPort), SMTP_URL: mailbox.smtpUrl, PUBLIC_URL: `http://waybill.localhost:${httpPort}/accounts` },
  });
});
afterAll(async () => {
  await waybill?.close();
  await mailbox?.stop();
  await rm(mailDirectory, { recursive: true, force: true });
});

/** The links that were mailed to somebody, the oldest first, as programs read the mailbox. */
async function linksTo(email: string): Promise<string[]> {
  const response = await fetch(`${mailbox.webUrl}/api/email?to.address=${encodeURIComponent(email)}`);
  const mails = (await response.json()) as { text: string }[];
  return mails.map(({ text }) => /http\S+/.exec(text)![0]);
}

/** Somebody who has signed up, and the link that was mailed. */
async function mailed() {
  const person = somebody();
  expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  const link = await eventually(async () => (await linksTo(person.email))[0]);
  const isVerified = async () => {
    const [row] = await waybill.database.query<{ verified: boolean }>('SELECT is_email_verified AS verified FROM users WHERE email = $1', [
      person.email,
    ]);
    return row?.verified;
  };
  const expire = () =>
    waybill.database.query(`UPDATE email_verification SET expires_at = now() - interval '1 s' WHERE email = $1`, [person.email]);
  return { person, link, token: new URL(link).searchParams.get('token')!, isVerified, expire };
}

/** What is served at a path, with and without the one of PUBLIC_URL in front of it. */
const at = (path: string, init?: RequestInit) => waybill.fetch(path, init);
const form = (fields: Record<string, string>): RequestInit => ({ method: 'POST', body: new URLSearchParams(fields) });

describe('the pages', () => {
  it.each([
    ['none', ''],
    ['no token', "'; DROP TABLE users; --"],
    ['a token cut short', 'A'.repeat(42)],
    ['a NUL', '\0'.repeat(43)],
    ['one that nobody was sent', 'A'.repeat(43)],
  ])('show no button for a link with %s, but lead to a new one', async (_, token) => {
    for (const response of [await at(`/verify-email?${new URLSearchParams({ token })}`), await at('/verify-email', form({ token }))]) {
      const page = await response.text();
      expect([response.status, page]).toEqual([400, expect.stringContaining('This link is no longer valid')]);
      expect(page).not.toContain('<button');
      expect(page).toContain('<a class="button" href="verify-email/new">');
    }
  });

  it('mail a new link to whoever waits for one, and say the same to everybody', async () => {
    const { person } = await mailed();
    const answers = [];
    for (const email of [person.email, ` ${somebody().email} `]) {
      const response = await at('/verify-email/new', form({ email }));
      answers.push([response.status, await response.text()]);
    }
    expect(answers[0]).toEqual([200, expect.stringContaining('Look into your mailbox')]);
    expect(answers[1]).toEqual(answers[0]);
    await eventually(async () => (await linksTo(person.email)).length === 2);
  });

  it('delete a sign-up that was not one’s own, once, with its links, and no account that is verified', async () => {
    const { person, token, expire } = await mailed();
    const { token: verifiedToken, isVerified } = await mailed();
    await at('/verify-email', form({ token: verifiedToken }));
    await expire();
    const disown = async (token: string) => {
      const response = await at('/verify-email/not-me', form({ token }));
      return [response.status, /<h1>(.*)<\/h1>/.exec(await response.text())?.[1]];
    };
    expect(await disown(token)).toEqual([200, 'The sign-up is deleted']);
    const left = `SELECT username FROM users WHERE username = $1 UNION ALL SELECT email FROM email_verification WHERE email = $2`;
    expect(await waybill.database.query(left, [person.username, person.email])).toEqual([]);
    for (const nothing of [token, '', 'A'.repeat(43), "'; DROP TABLE users; --", '\0'.repeat(43)]) {
      expect(await disown(nothing)).toEqual([400, 'There is nothing to delete']);
    }
    expect(await disown(verifiedToken)).toEqual([400, 'This address was confirmed before']);
    expect(await isVerified()).toBe(true);
    // Nothing but the click of the form deletes, or says what a link is good for.
    expect((await at(`/verify-email/not-me?token=${verifiedToken}`)).status).toBe(405);
    // The username and the address are free again.
    expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  });

  it('mail nothing to what is no address by the contract', async () => {
    const mails = async () =>
      (await waybill.database.query<{ id: string }>(`SELECT id FROM task WHERE type = 'account.send_verification_email'`)).map(
        ({ id }) => id,
      );
    const before = new Set(await mails());
    for (const email of ['', 'nobody', 'a@b@c', `${'a'.repeat(250)}@example.com`, 'nul\0@example.com', '"><script>@example.com']) {
      const response = await at('/verify-email/new', form({ email }));
      const page = await response.text();
      expect([response.status, page]).toEqual([400, expect.stringContaining('This is not an e-mail address.')]);
      expect(page).not.toContain('<script>');
    }
    expect((await at('/verify-email/new', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).status).toBe(
      400,
    );
    expect((await mails()).filter((id) => !before.has(id))).toEqual([]);
  });

  it('are served under the path of PUBLIC_URL and without it, and nowhere else', async () => {
    const { link, token } = await mailed();
    expect(link).toBe(`${waybill.environment['PUBLIC_URL']}/verify-email?token=${token}`);
    const paths = ['', `verify-email?token=${token}`, 'verify-email/new', 'healthz'];
    for (const path of paths) {
      for (const prefix of ['/', '/accounts/']) expect([prefix + path, (await at(prefix + path)).status]).toEqual([prefix + path, 200]);
      expect((await at(`/accountss/${path}`)).status).toBe(404);
      expect((await at(`/v1/accounts/${path}`)).status).toBe(404);
    }
    for (const root of ['/accounts', '/accounts?from=mail']) expect((await at(root)).status).toBe(200);
    // Nothing on a page names a path that only this server knows.
    for (const path of paths.slice(1, 3)) expect(await (await at(`/${path}`)).text()).not.toMatch(/(action|href)="\//);
  });

  it('load nothing, tell nobody, and are framed by nobody', async () => {
    for (const path of ['/', '/verify-email?token=x', '/verify-email/new']) {
      const { headers } = await at(path);
      expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('cache-control')).toBe('no-store');
    }
  });
});

describe('the mailbox of the development stack', () => {
  const PATHS = ['/', '/api/email', '/socket.io/?EIO=4&transport=polling'];

  /** Asks as a browser does, with headers that fetch would not send. @returns the status. */
  async function ask(path: string, headers: Record<string, string>): Promise<number> {
    const sent = request({ port: new URL(mailbox.webUrl).port, path, headers: { accept: 'text/html', ...headers } }).end();
    const [response] = (await Promise.race([once(sent, 'response'), once(sent, 'upgrade')])) as [IncomingMessage];
    response.destroy();
    return response.statusCode!;
  }
  const upgrade = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'd2F5YmlsbC1kZXZlbG8uLg==',
  };

  it('serves its own page and programs', async () => {
    const { host, origin, port } = new URL(mailbox.webUrl);
    const own: Record<string, string>[] = [
      { host },
      { host: `127.0.0.1:${port}` },
      { host, origin },
      // Through a tunnel, from another port.
      { host: 'localhost:8025', origin: 'http://localhost:8025' },
      { host: '127.0.0.2:8025' },
      { host: '[::1]:8025', origin: 'http://[::1]:8025' },
      { host: 'localhost' },
    ];
    for (const headers of own) {
      for (const path of PATHS) expect([headers, await ask(path, headers)]).toEqual([headers, 200]);
    }
    expect(await ask('/socket.io/?EIO=4&transport=websocket', { host, origin, ...upgrade })).toBe(101);
    expect((await fetch(`${mailbox.webUrl}/api/email`)).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('refuses every other page of the browser, also one whose name leads here', async () => {
    const { host, port } = new URL(mailbox.webUrl);
    const strangers: Record<string, string>[] = [
      { host, origin: 'http://evil.example' },
      { host, origin: `http://localhost:${Number(port) + 1}` },
      { host, origin: `http://127.0.0.1:${port}` },
      { host, origin: 'null' },
      { host: `evil.example:${port}` },
      { host: `evil.example:${port}`, origin: `http://evil.example:${port}` },
      { host: `localhost.evil.example:${port}` },
      { host: `127.evil.example:${port}` },
    ];
    for (const headers of strangers) {
      for (const path of PATHS) expect([headers, await ask(path, headers)]).toEqual([headers, 403]);
      expect(await ask('/socket.io/?EIO=4&transport=websocket', { ...headers, ...upgrade })).toBe(403);
    }
  });
});

/** A page, and everything that it did: what it loaded, and what the browser had to say about it. */
interface Visit extends AsyncDisposable {
  readonly page: Page;
  readonly requests: { readonly method: string; readonly url: string; readonly referer: string | undefined }[];
  readonly complaints: string[];
}

describe.skipIf(executablePath === undefined)('the verify page in a browser', () => {
  let browser: Browser;

  beforeAll(async () => {
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
  });
  afterAll(() => browser?.close());

  async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const requests: Visit['requests'] = [];
    const complaints: string[] = [];
    page.on('request', async (request) => {
      const entry = { method: request.method(), url: request.url(), referer: undefined as string | undefined };
      requests.push(entry);
      entry.referer = (await request.allHeaders().catch(() => ({}) as Record<string, string>))['referer'];
    });
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    return { page, requests, complaints, [Symbol.asyncDispose]: () => context.close() };
  }

  it.each(['Confirm e-mail address', 'the link as text'])(
    'opens from the mail as the mailbox shows it, by %s, and verifies',
    async (label) => {
      const { person, link, isVerified } = await mailed();
      await using visited = await visit();
      const { page } = visited;
      await page.goto(mailbox.webUrl);
      await page.getByText(person.email).first().click();
      const mail = page.frameLocator('iframe');
      const opened = page.context().waitForEvent('page');
      await mail.getByRole('link', { name: label === 'the link as text' ? link : label }).click();
      const verifyPage = await opened;
      await verifyPage.getByText(person.username).waitFor();
      await verifyPage.getByRole('button', { name: 'Verify my e-mail address' }).click();
      await verifyPage.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
      expect(await isVerified()).toBe(true);
    },
  );

  it('verifies with one click, says so when the link is opened again, and leads on', async () => {
    const { person, link, token, isVerified } = await mailed();
    await using visited = await visit();
    const { page, requests, complaints } = visited;

    await page.goto(link);
    await page.reload();
    expect(await page.title()).toBe('Verify your e-mail address · Waybill');
    expect(await page.locator('html').getAttribute('lang')).toBe('en');
    expect(await page.locator('main').innerText()).toMatch(new RegExp(`^Waybill\\n[^]*the account ${person.username} `));
    expect(await isVerified()).toBe(false);

    await page.getByRole('button', { name: 'Verify my e-mail address' }).click();
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await isVerified()).toBe(true);
    expect(page.url()).not.toContain(token);

    await page.goto(link);
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await page.locator('main').innerText()).toContain(`The account ${person.username} `);
    await page.getByRole('link', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Waybill is running' }).waitFor();
    expect(page.url()).toBe(`${waybill.environment['PUBLIC_URL']}/`);

    const { origin } = new URL(link);
    expect(requests.filter(({ url }) => new URL(url).origin !== origin)).toEqual([]);
    expect(requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
    expect(requests.filter(({ referer }) => referer !== undefined)).toEqual([]);
    // A browser asks for an icon by itself, and is told that there is none; of the page itself it has nothing to complain.
    expect(complaints.filter((text) => !/404/.test(text))).toEqual([]);
  });

  it('leads from an expired link to a new one, without scripts, from the keyboard, on a small dark screen', async () => {
    const { person, link, isVerified, expire } = await mailed();
    await expire();
    await using visited = await visit({ javaScriptEnabled: false, colorScheme: 'dark', viewport: { width: 320, height: 480 } });
    const { page } = visited;
    const press = async (...keys: string[]) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const expectToFit = async (name: 'button' | 'link' | 'textbox') => {
      const box = await page.getByRole(name).first().boundingBox();
      expect(box!.x).toBeGreaterThanOrEqual(0);
      expect(box!.x + box!.width).toBeLessThanOrEqual(320);
      expect(box!.height).toBeGreaterThanOrEqual(44);
    };

    await page.goto(link);
    await page.getByRole('heading', { name: 'This link is no longer valid' }).waitFor();
    await expectToFit('link');
    await press('Tab', 'Enter');
    await page.getByRole('heading', { name: 'Get a new verification link' }).waitFor();
    await expectToFit('textbox');
    await expectToFit('button');
    await press('Tab');
    await page.keyboard.type(person.email);
    await press('Enter');
    await page.getByRole('heading', { name: 'Look into your mailbox' }).waitFor();

    await page.goto(await eventually(async () => (await linksTo(person.email))[1]));
    await expectToFit('button');
    await press('Tab', 'Enter');
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await isVerified()).toBe(true);
  });

  it('deletes a sign-up that was not one’s own, with one click, without scripts, and leads on', async () => {
    const { person, link } = await mailed();
    await using visited = await visit({ javaScriptEnabled: false, viewport: { width: 320, height: 480 } });
    const { page } = visited;
    await page.goto(link);
    await page.getByText(person.username).waitFor();
    const button = page.getByRole('button', { name: 'This was not me' });
    const box = await button.boundingBox();
    expect(box!.x + box!.width).toBeLessThanOrEqual(320);
    expect(box!.height).toBeGreaterThanOrEqual(44);
    await button.click();
    await page.getByRole('heading', { name: 'The sign-up is deleted' }).waitFor();
    expect(await waybill.database.query('SELECT FROM users WHERE username = $1', [person.username])).toEqual([]);
    await page.getByRole('link').click();
    await page.getByRole('heading', { name: 'Waybill is running' }).waitFor();
    await page.goto(link);
    await page.getByRole('heading', { name: 'This link is no longer valid' }).waitFor();
  });

  it('works behind a proxy that takes the path away', async () => {
    const { link, isVerified, expire, person } = await mailed();
    await using visited = await visit();
    const { page } = visited;
    await page.route('http://proxy.test/**', async (route) => {
      const { pathname, search } = new URL(route.request().url());
      const url = `${waybill.http.origin}${pathname.replace(/^\/some\/where/, '')}${search}`;
      await route.fulfill({ response: await route.fetch({ url }) });
    });
    const proxied = (given: string) => given.replace(waybill.environment['PUBLIC_URL']!, 'http://proxy.test/some/where');
    await expire();
    await page.goto(proxied(link));
    await page.getByRole('link', { name: 'Get a new link' }).click();
    await page.getByLabel('E-mail address').fill(person.email);
    await page.getByRole('button').click();
    await page.getByRole('heading', { name: 'Look into your mailbox' }).waitFor();
    await page.goto(proxied(await eventually(async () => (await linksTo(person.email))[1])));
    await page.getByRole('button').first().click();
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await isVerified()).toBe(true);
  });

  it('runs nothing that stands in its address, or was typed in', async () => {
    const hostile = `"><script>document.title = 'owned'</script><img src=x onerror="document.title = 'owned'">`;
    await using visited = await visit();
    const { page, requests } = visited;
    await page.goto(`${waybill.environment['PUBLIC_URL']}/verify-email?token=${encodeURIComponent(hostile)}`);
    expect(await page.title()).toBe('This link is no longer valid · Waybill');
    await page.getByRole('link').click();
    await page.locator('form').evaluate((element) => element.setAttribute('novalidate', ''));
    await page.getByLabel('E-mail address').fill(hostile);
    await page.getByRole('button').click();
    await page.getByText('This is not an e-mail address.').waitFor();
    expect(await page.getByLabel('E-mail address').inputValue()).toBe(hostile);
    expect(await page.locator('script, img').count()).toBe(0);
    expect(await page.title()).toBe('Get a new verification link · Waybill');
    expect(requests.filter(({ url }) => url.endsWith('/x'))).toEqual([]);
  });

  it('has a style of its own, although no other may load', async () => {
    const { link } = await mailed();
    await using visited = await visit({ colorScheme: 'dark' });
    const { page } = visited;
    await page.goto(link);
    // Were the policy's hash not the style's, the button would be the browser's grey one.
    expect(
      await page
        .getByRole('button')
        .first()
        .evaluate((button) => button.ownerDocument.defaultView!.getComputedStyle(button).backgroundColor),
    ).toBe('rgb(138, 180, 255)');
  });

  it('cannot be framed', async () => {
    const { link } = await mailed();
    await using visited = await visit();
    const { page, complaints } = visited;
    await page.setContent(`<iframe src="${link}"></iframe>`);
    await eventually(() => complaints.some((text) => text.includes("frame-ancestors 'none'")));
  });
});
