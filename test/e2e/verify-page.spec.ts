import { existsSync } from 'node:fs';
import { UserService } from '@app/contract';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = BROWSERS.find((path) => existsSync(path));

if (executablePath === undefined) {
  const notRun = `NOT RUN: the verify page in a browser. There is none of ${BROWSERS.join(', ')}.`;
  if (process.env['CI'] === 'true') throw new Error(notRun);
  console.warn(notRun);
}

/** A page, and everything that it did: what it loaded, and what the browser had to say about it. */
interface Visit extends AsyncDisposable {
  readonly page: Page;
  readonly requests: { readonly method: string; readonly url: string; readonly referer: string | undefined }[];
  readonly complaints: string[];
}

describe.skipIf(executablePath === undefined)('the verify page in a browser', () => {
  let waybill: Waybill;
  let browser: Browser;

  beforeAll(async () => {
    waybill = await Waybill.start('postgres');
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
        '--host-resolver-rules=MAP waybill.test 127.0.0.1',
      ],
    });
  });
  afterAll(async () => {
    await browser?.close();
    await waybill?.close();
  });

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

  async function mailed() {
    const person = somebody();
    await waybill.http.call(UserService.method.createUser, person);
    const mail = await waybill.mail.mailTo(person.email);
    const isVerified = async () => {
      const [row] = await waybill.database.query<{ verified: boolean }>(
        'SELECT is_email_verified AS verified FROM users WHERE email = $1',
        [person.email],
      );
      return row?.verified;
    };
    return { ...mail, isVerified };
  }

  it('verifies with one click, and says so when the link is used', async () => {
    const { link, token, isVerified } = await mailed();
    await using visited = await visit();
    const { page, requests, complaints } = visited;

    await page.goto(link);
    await page.reload();
    expect(await page.title()).toBe('Verify your e-mail address · Waybill');
    expect(await page.locator('html').getAttribute('lang')).toBe('en');
    expect(await isVerified()).toBe(false);

    await page.getByRole('button', { name: 'Verify my e-mail address' }).click();
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await isVerified()).toBe(true);
    expect(page.url()).not.toContain(token);

    await page.goto(link);
    await page.getByRole('button').click();
    await page.getByRole('heading', { name: 'This link is no longer valid' }).waitFor();

    const { origin } = new URL(link);
    expect(requests.filter(({ url }) => new URL(url).origin !== origin)).toEqual([]);
    expect(requests.filter(({ method }) => method === 'POST')).toHaveLength(2);
    expect(requests.filter(({ referer }) => referer !== undefined)).toEqual([]);
    // A browser asks for an icon by itself, and is told that there is none; of the page itself it has nothing to complain.
    expect(complaints.filter((text) => !/404|400/.test(text))).toEqual([]);
  });

  it('works without scripts, from the keyboard, on a small dark screen', async () => {
    const { link, isVerified } = await mailed();
    await using visited = await visit({ javaScriptEnabled: false, colorScheme: 'dark', viewport: { width: 320, height: 480 } });
    const { page } = visited;
    await page.goto(link);
    const button = page.getByRole('button');
    const box = await button.boundingBox();
    expect(box!.x).toBeGreaterThanOrEqual(0);
    expect(box!.x + box!.width).toBeLessThanOrEqual(320);
    expect(box!.height).toBeGreaterThanOrEqual(44);

    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Your e-mail address is verified' }).waitFor();
    expect(await isVerified()).toBe(true);
  });

  it('runs nothing that stands in its address', async () => {
    const hostile = `"><script>document.title = 'owned'</script><img src=x onerror="document.title = 'owned'">`;
    await using visited = await visit();
    const { page, requests } = visited;
    await page.goto(`http://waybill.test:${waybill.environment['HTTP_PORT']}/verify-email?token=${encodeURIComponent(hostile)}`);
    expect(await page.locator('input[name=token]').inputValue()).toBe(hostile);
    expect(await page.locator('script, img').count()).toBe(0);
    expect(await page.title()).toBe('Verify your e-mail address · Waybill');
    await page.getByRole('button').click();
    await page.getByRole('heading', { name: 'This link is no longer valid' }).waitFor();
    expect(await page.title()).toBe('This link is no longer valid · Waybill');
    expect(requests.filter(({ url }) => url.endsWith('/x'))).toEqual([]);
  });

  it('has a style of its own, although no other may load', async () => {
    const { link } = await mailed();
    await using visited = await visit({ colorScheme: 'dark' });
    const { page } = visited;
    await page.goto(link);
    // Were the policy's hash not the style's, the button would be the browser's grey one.
    expect(
      await page.getByRole('button').evaluate((button) => button.ownerDocument.defaultView!.getComputedStyle(button).backgroundColor),
    ).toBe('rgb(138, 180, 255)');
  });
});
