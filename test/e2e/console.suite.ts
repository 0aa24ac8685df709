import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { UserService } from '@app/contract';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { executablePath, explainMissingBrowser } from '../support/browser.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { type LedgerRow, Waybill } from '../support/waybill.js';

const TYPE = 'account.send_verification_email';
const PASSWORD = 'a password of operators';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = ['/', '/tasks', '/dead', '/schedules', '/workers', '/actions'] as const;

/** The operators' console in a real browser, on the real apps. One suite for every dispatcher. */
export function describeConsole(dispatcher: Dispatcher): void {
  explainMissingBrowser('the console');
  const toRun = dispatcher === 'redis' ? 'dispatched' : 'pending';
  const cannotRun = executablePath === undefined || !isAvailable(dispatcher);
  describe.skipIf(cannotRun)(`the console, with the queues in ${dispatcher}`, { timeout: 120_000 }, () => {
    let waybill: Waybill;
    let origin: string;
    let browser: Browser;
    let context: BrowserContext;
    let page: Page;
    /** What a page must never do: log an error, load anything from elsewhere, or open a dialog of the browser's. */
    const problems: string[] = [];

    // What the page does by itself is the same on both dispatchers, and seen on one of them.
    const itOfThePage = it.skipIf(dispatcher === 'redis');
    beforeAll(async () => {
      const port = await freePort();
      origin = `http://127.0.0.1:${port}`;
      waybill = await Waybill.create(dispatcher);
      await Promise.all([
        waybill.startApi(),
        waybill.startWorker({ CONSOLE_PORT: String(port), CONSOLE_PASSWORD: PASSWORD, WORKER_CONCURRENCY: '4' }),
      ]);
      // A task that waits for its retry is to be looked at meanwhile.
      await waybill.retryQuickly(600_000);
      browser = await chromium.launch({
        executablePath: executablePath!,
        args: ['--no-sandbox', '--host-resolver-rules=MAP console.example 127.0.0.1'],
      });
      context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
      context.setDefaultTimeout(20_000);
      page = await watched(context);
      await logIn(page);
    }, 120_000);
    afterAll(async () => {
      await browser?.close();
      await waybill?.close();
    });
    beforeEach(({ onTestFailed }) => {
      onTestFailed(async () => console.error(`the page ${page.url()} shows: ${await page.locator('body').innerText()}`));
    });
    afterEach(() => {
      expect(problems.splice(0)).toEqual([]);
    });

    async function watched(context: BrowserContext): Promise<Page> {
      const tab = await context.newPage();
      tab.on('pageerror', (error) => problems.push(error.message));
      tab.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
      tab.on('dialog', (dialog) => void (problems.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
      tab.on('request', (request) => !request.url().startsWith(origin) && problems.push(`from elsewhere: ${request.url()}`));
      return tab;
    }

    async function logIn(tab: Page, name = 'Ada'): Promise<void> {
      await tab.goto(`${origin}/login`);
      await tab.getByLabel('Password').fill(PASSWORD);
      await tab.getByLabel('Your name').fill(name);
      await tab.getByRole('button', { name: 'Log in' }).click();
      await tab.getByRole('heading', { name: 'Overview' }).waitFor();
    }

    const open = async (path: string) => {
      await page.goto(`${origin}${path}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
    };
    const signUp = async (reaction: Parameters<Waybill['mail']['when']>[1]) => {
      const person = somebody();
      waybill.mail.when(person.email, reaction);
      const answer = await waybill.http.call(UserService.method.createUser, person);
      expect(answer.code).toBe(0);
      const [user] = await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [person.username]);
      const userId = user!.id;
      const task = async () => (await waybill.ledger()).find(({ payload }) => payload.userId === userId);
      const when = (fits: (row: LedgerRow) => boolean) =>
        eventually(async () => {
          const row = await task();
          return row && fits(row) ? row : undefined;
        });
      return { ...person, userId, task, when };
    };
    const buried = async () => {
      const person = await signUp({ refuse: 550, at: 'recipient' });
      return { ...person, id: (await person.when(({ state }) => state === 'dead')).id };
    };
    const delayed = async () => {
      const person = await signUp({ refuse: 451, at: 'recipient' });
      return { ...person, id: (await person.when(({ state, failures }) => state === toRun && failures === 1)).id };
    };

    itOfThePage('lets nobody in without the password, and leads back to where one wanted to go', async () => {
      const stranger = await browser.newContext();
      const tab = await watched(stranger);
      await tab.goto(`${origin}/dead`);
      expect(new URL(tab.url()).pathname).toBe('/login');
      await tab.getByLabel('Password').fill('a guess');
      await tab.getByRole('button', { name: 'Log in' }).click();
      await tab.getByText('The user name or the password is wrong.').waitFor();
      // The browser logs the 401 of the page itself, when it comes to it.
      await eventually(() => problems.length > 0);
      expect(problems.splice(0)).toEqual([expect.stringContaining('401')]);
      await tab.getByLabel('Password').fill(PASSWORD);
      await tab.getByRole('button', { name: 'Log in' }).click();
      await tab.getByRole('heading', { name: 'Dead', level: 1 }).waitFor();
      await tab.getByRole('button', { name: 'Log out' }).click();
      await tab.getByRole('heading', { name: 'Console' }).waitFor();
      await tab.goto(`${origin}/`);
      expect(new URL(tab.url()).pathname).toBe('/login');
      await stranger.close();
    });

    it('tells on the overview how every queue is, what is wrong, and what died of what', async () => {
      await buried();
      await open('/');
      await page.getByText('Nothing is wrong.').waitFor();
      const queue = page.getByRole('article', { name: 'Queue critical' });
      await queue.getByText('weight 10').waitFor();
      await expect
        .poll(() => queue.locator('dd').allInnerTexts(), { timeout: 40_000 })
        .toEqual(['0', '0', '0', expect.stringMatching(/^[1-9]/)]);
      const died = page.getByRole('region', { name: 'Died in the last day' });
      // On a busy machine the groups as they were before are kept for up to a minute.
      await died
        .getByText(/the mail server refused the mail/)
        .first()
        .waitFor({ timeout: 75_000 });
      expect(await page.locator('main').innerText()).not.toContain('@example.com');
      for (const name of ['Throughput', 'Failures', 'Latency']) await page.getByRole('img', { name: new RegExp(`^${name}`) }).waitFor();
    });

    it('leads a new operator from what died on the overview to the task, and why it died', async () => {
      const person = await buried();
      await open('/');
      const died = page.getByRole('region', { name: 'Died in the last day' });
      await died
        .getByRole('link', { name: /the mail server refused the mail/ })
        .first()
        .click();
      await page.getByRole('heading', { name: 'Tasks', level: 1 }).waitFor();
      expect(page.url()).toContain('state=dead');
      await page.locator(`a[href="/tasks/${person.id}"]`).click();
      await page
        .getByText(/Buried: retry skipped/)
        .first()
        .waitFor();
      await page
        .getByText(/the mail server refused the mail: 550/)
        .first()
        .waitFor();
      expect(await page.locator('main').innerText()).not.toContain('@example.com');
      await page.getByRole('region', { name: 'Payload' }).getByText('Its values are hidden.').waitFor();
      await open(`/tasks/${randomUUID()}`);
      await page.getByText('The ledger has no task').waitFor();
    });

    it('finds tasks by what an operator knows of them, each search by an address', async () => {
      const [dead, waiting] = await Promise.all([buried(), delayed()]);
      const found = async () => {
        await page.getByRole('region', { name: 'Tasks found' }).waitFor();
        return page.locator('tbody a[href^="/tasks/"]').evaluateAll((links) => links.map((link) => link.getAttribute('href')!.slice(7)));
      };
      const [row] = await waybill.database.query<{ request_id: string }>('SELECT request_id FROM task WHERE id = $1', [dead.id]);
      await open('/tasks');
      await page.getByLabel('Error contains').fill('550');
      await page.getByLabel('State').selectOption('dead');
      await page.getByRole('button', { name: 'Search' }).click();
      await expect.poll(found).toContain(dead.id);
      expect(new URL(page.url()).search).toBe('?error=550&state=dead');
      expect(await found()).not.toContain(waiting.id);
      for (const [query, hits, others] of [
        [`id=${dead.id}`, [dead.id], [waiting.id]],
        [`requestId=${row!.request_id}`, [dead.id], [waiting.id]],
        ['state=delayed', [waiting.id], [dead.id]],
        [`type=${TYPE}&queue=critical`, [dead.id, waiting.id], []],
        ['olderThan=3600000', [], [dead.id, waiting.id]],
        ['youngerThan=3600000', [dead.id, waiting.id], []],
      ] as const) {
        await open(`/tasks?${query}`);
        if (hits.length > 0) await expect.poll(found).toEqual(expect.arrayContaining([...hits]));
        else await page.getByText('No task matches.').waitFor();
        for (const other of others) expect([query, await found()]).toEqual([query, expect.not.arrayContaining([other])]);
      }
    });

    itOfThePage('says what it cannot read of an address, and does not search for the half of it', async () => {
      const nothing = (query: string) => `The address asks for "${query}", which is nothing that can be searched for.`;
      for (const [query, told] of [
        ...['state=bogus', 'olderThan=abc', 'olderThan=1e999', 'foo=1'].map((query) => [query, nothing(query)] as const),
        ['type=%20', nothing('type= ')] as const,
        ['state=dead&state=completed', 'The address asks for "state" more than once.'] as const,
      ]) {
        await open(`/tasks?${query}`);
        await page.getByText(told).waitFor();
        expect(await page.getByRole('button', { name: /all$/ }).count()).toBe(0);
      }
    });

    itOfThePage('tells people of an address that leads nowhere', async () => {
      await open('/tasks/abc');
      await page.getByText('The ledger has no task abc').waitFor();
      await open('/nosuch/page');
      await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
      // The browser logs that the document was a 404, when it comes to it.
      await eventually(() => problems.length > 0);
      expect(problems.splice(0)).toEqual([expect.stringContaining('404')]);
    });

    itOfThePage('looks again soon, whatever the way to the worker has taken, and at once when it is told to', async () => {
      let asked = 0;
      await page.route('**/api/search?*', async (route) => {
        asked += 1;
        const answer = await route.fetch();
        if (asked === 1) await new Promise((resolve) => setTimeout(resolve, 500));
        await route.fulfill({ response: answer });
      });
      await open('/tasks?type=nobody.has-this');
      await page.getByText('No task matches.').waitFor();
      await waybill.database.query(
        `INSERT INTO task (id, type, queue, payload, options, state, reason, error, finished_at)
         VALUES (gen_random_uuid(), 'nobody.has-this', 'default', '{}', '{"maxRetry": 0, "timeout": 60000}', 'dead', 'retry skipped', 'no', now())`,
      );
      await page.locator('tbody a[href^="/tasks/"]').waitFor({ timeout: 10_000 });
      const before = asked;
      await page.getByRole('button', { name: 'Search', exact: true }).click();
      await eventually(() => asked > before, 2_000);
      // A request may be under way.
      await page.unrouteAll({ behavior: 'wait' });
      await waybill.database.query(`DELETE FROM task WHERE type = 'nobody.has-this'`);
    });

    itOfThePage('lets an operator in who comes by a name, without TLS', async () => {
      const stranger = await browser.newContext();
      const tab = await stranger.newPage();
      await tab.goto(`${origin.replace('127.0.0.1', 'console.example')}/login`);
      await tab.getByLabel('Password').fill(PASSWORD);
      await tab.getByRole('button', { name: 'Log in' }).click();
      await tab.getByRole('heading', { name: 'Overview' }).waitFor();
      await tab.getByRole('button', { name: 'Log out' }).click();
      await tab.getByLabel('Password').waitFor();
      await stranger.close();
    });

    itOfThePage('shows what a hostile task holds, and runs nothing of it', async () => {
      const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script> \u001b[31m \u202e';
      const [id, large] = [randomUUID(), randomUUID()];
      const insert = `INSERT INTO task (id, type, queue, payload, options, state, reason, error, history, finished_at)
        VALUES ($1, $2, 'critical', $3, '{"maxRetry": 0, "timeout": 60000}', 'dead', 'retry skipped', $4, $5, now())`;
      const history = JSON.stringify([{ at: new Date().toISOString(), what: 'buried: retry skipped', error: hostile }]);
      await waybill.database.query(insert, [id, 'another.version', JSON.stringify({ text: hostile }), hostile, history]);
      await waybill.database.query(insert, [
        large,
        'another.version',
        JSON.stringify({ list: 'x'.repeat(64_000) }),
        'x'.repeat(8_000),
        '[]',
      ]);
      await open('/tasks?type=another.version');
      await page.locator(`a[href="/tasks/${id}"]`).waitFor();
      await page.locator(`a[href="/tasks/${id}"]`).click();
      await page.getByText('<script>alert(2)</script>').first().waitFor();
      await open(`/tasks/${large}`);
      await page.getByText('xxxxxxxx').first().waitFor();
      await open('/dead');
      await page.getByText('another.version').first().waitFor();
      await waybill.database.query(`DELETE FROM task WHERE type = 'another.version'`);
    });

    itOfThePage('is used by keyboard alone', async () => {
      const dead = await buried();
      await open('/');
      await page.keyboard.press('g');
      await page.keyboard.press('t');
      await page.getByRole('heading', { name: 'Tasks', level: 1 }).waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type(dead.id);
      await page.keyboard.press('Enter');
      await page.locator(`a[href="/tasks/${dead.id}"]`).waitFor();
      for (let turn = 0; turn < 40 && !(await page.locator(`a[href="/tasks/${dead.id}"]:focus`).count()); turn++) {
        await page.keyboard.press('Tab');
      }
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: TYPE, level: 1 }).waitFor();
    });

    it('shows every worker, and what it runs', async () => {
      const running = await signUp('hang');
      await eventually(() => waybill.mail.triesTo(running.email).length === 1);
      const { id } = (await running.task())!;
      await open('/workers');
      const worker = page.getByRole('article', { name: /^Worker/ });
      await worker.getByText(id).waitFor();
      expect(await worker.innerText()).toMatch(/1 of 4/);
      expect(await worker.innerText()).toContain('critical 10');
      await waybill.tasks('cancel', id);
    });

    itOfThePage('is quiet while nobody looks, says when the worker does not answer, and goes on by itself', async () => {
      await open('/workers');
      await page.getByRole('article').first().waitFor();
      await page.route('**/api/**', (route) => route.abort());
      await page.getByText('The worker cannot be reached.').waitFor();
      expect(await page.getByRole('article').count(), 'what was known stays').toBeGreaterThan(0);
      await page.unroute('**/api/**');
      await page.getByText('The worker cannot be reached.').waitFor({ state: 'detached' });
      // A database that is away: what needs none is answered, and says nothing of the rest.
      await page.route('**/api/workers*', (route) => route.fulfill({ status: 503, json: { message: 'the database does not answer' } }));
      const banner = page.getByText(/^The database does not answer\. What you see is of /);
      await banner.waitFor();
      const told = await banner.innerText();
      const session = page.waitForResponse('**/api/session*');
      await page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`);
      await session;
      await page.waitForResponse('**/api/workers*');
      expect(await banner.innerText()).toBe(told);
      await page.unroute('**/api/workers*');
      await banner.waitFor({ state: 'detached' });
      // The browser logs each request that was cut off.
      problems.splice(0);

      let asked = 0;
      page.on('request', () => (asked += 1));
      const hide = (hidden: boolean) =>
        page.evaluate(
          `Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`,
        );
      await hide(true);
      const answered = asked;
      await page.waitForTimeout(4_000);
      expect(asked).toBe(answered);
      await hide(false);
      await eventually(() => asked > answered);
    });

    describe('acts', () => {
      /** What was recorded last, as the page of actions shows it. */
      const lastAction = async () => {
        await open('/actions');
        return page.locator('tbody tr').first().innerText();
      };
      const press = (name: string | RegExp) => page.getByRole('button', { name, exact: true }).click();
      const row = async (id: string) => (await waybill.ledger()).find((candidate) => candidate.id === id);
      const confirm = (name: string) => page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
      const rows = () => page.locator('tbody a[href^="/tasks/"]');

      it('leads from what died to its redrive, and to the mail', async () => {
        const person = await buried();
        await open('/');
        await page
          .getByRole('region', { name: 'Died in the last day' })
          .getByRole('link', { name: /the mail server refused the mail/ })
          .first()
          .click();
        await page.locator(`a[href="/tasks/${person.id}"]`).click();
        waybill.mail.when(person.email, 'accept');
        await press('Redrive');
        await waybill.mail.mailTo(person.email);
        await page.getByText('The ledger has no task').waitFor();
        expect(await lastAction()).toMatch(new RegExp(`Ada\\s+Redrive the task ${person.id}.*\\s+1 done`));
      });

      it('redrives with another payload, once that fits, and records that it was revealed', async () => {
        const person = await buried();
        await waybill.database.query(`UPDATE task SET payload = '{"user": 7, "note": "ada@example.com"}' WHERE id = $1`, [person.id]);
        waybill.mail.when(person.email, 'accept');
        await open(`/tasks/${person.id}`);
        await press('Redrive with another payload');
        const editor = page.getByRole('dialog').getByRole('textbox');
        expect(JSON.parse(await editor.inputValue())).toEqual({ user: 7, note: '[address]' });
        await editor.fill('{"userId": 7}');
        await confirm('Redrive');
        await page
          .getByRole('alert')
          .getByText(/does not fit/)
          .waitFor();
        expect((await row(person.id))?.state).toBe('dead');
        await editor.fill(JSON.stringify({ userId: person.userId }));
        await confirm('Redrive');
        expect((await waybill.mail.mailTo(person.email)).messageId).toBe(`<${person.id}@waybill.test>`);
        await open('/actions');
        const done = page.locator('tbody tr');
        await done.nth(1).waitFor();
        expect(await done.nth(0).innerText()).toContain(`Redrive the task ${person.id} with an edited payload`);
        expect(await done.nth(1).innerText()).toContain(`Reveal the payload of the task ${person.id}`);
      });

      it('cancels, runs now, and deletes one task', async () => {
        const [late, waiting, dead] = await Promise.all([delayed(), delayed(), buried()]);
        waybill.mail.when(late.email, 'accept');
        await open(`/tasks/${late.id}`);
        await press('Run now');
        await waybill.mail.mailTo(late.email);
        for (const [task, verb] of [
          [waiting, 'Cancel'],
          [dead, 'Delete'],
        ] as const) {
          await open(`/tasks/${task.id}`);
          await press(verb);
          await confirm(verb);
          await page.getByText('The ledger has no task').waitFor();
          expect(await task.task()).toBeUndefined();
        }
      });

      it('leaves a task that has changed since its dialog was opened', async () => {
        const { id } = await buried();
        await open(`/tasks/${id}`);
        await press('Delete');
        await page.getByRole('dialog').waitFor();
        await waybill.database.query(`UPDATE task SET generation = generation + 1, failures = 7, error = 'another one' WHERE id = $1`, [
          id,
        ]);
        // The page has seen it by then.
        for (const _ of [1, 2]) await page.waitForResponse((response) => response.url().includes('/api/task?'), { timeout: 20_000 });
        await confirm('Delete');
        await page.getByText(new RegExp(`${id}: `)).waitFor();
        expect(await row(id)).toMatchObject({ state: 'dead', failures: 7 });
      });

      itOfThePage('and leaves the keyboard where it was', async () => {
        const focus = () => page.evaluate(`[document.activeElement.tagName, document.activeElement.innerText.slice(0, 6)].join(' ')`);
        const { id } = await buried();
        await open(`/tasks/${id}`);
        await page.getByRole('button', { name: 'Delete', exact: true }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').waitFor();
        await page.keyboard.press('Escape');
        await page.getByRole('dialog').waitFor({ state: 'detached' });
        expect(await focus()).toBe('BUTTON Delete');
        await page.keyboard.press('Enter');
        await confirm('Delete');
        await page.getByRole('dialog').waitFor({ state: 'detached' });
        await eventually(async () => (await row(id)) === undefined);
        await page.getByText('The ledger has no task').waitFor();
        expect(await focus()).not.toMatch(/^BODY/);
        await open('/');
        await page.getByRole('button', { name: 'Pause default', exact: true }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('button', { name: 'Resume default', exact: true }).waitFor();
        expect(await focus()).not.toMatch(/^BODY/);
        await press('Resume default');
        await page.getByRole('button', { name: 'Pause default', exact: true }).waitFor();
      });

      it('on chosen tasks, and tells of each that has changed meanwhile', async () => {
        await waybill.database.query(`DELETE FROM task WHERE state = 'dead'`);
        const people = await Promise.all([buried(), buried(), buried()]);
        await open('/tasks?state=dead');
        await rows().nth(2).waitFor();
        await page.getByLabel('Choose all on this page').check();
        await press('Redrive 3 tasks');
        const diedAgain = () =>
          waybill.database.query(`SELECT FROM task WHERE id = ANY($1) AND state = 'dead' AND generation = 1`, [people.map(({ id }) => id)]);
        await eventually(async () => (await diedAgain()).length === 3);
        await open('/tasks?state=dead');
        await rows().nth(2).waitFor();
        await page.getByLabel('Choose all on this page').check();
        // Another operator was there first.
        await waybill.database.query(`UPDATE task SET generation = generation + 1 WHERE id = $1`, [people[0]!.id]);
        await press('Delete 3 tasks');
        await confirm('Delete');
        await page.getByText(new RegExp(`${people[0]!.id}: it has changed since it was seen`)).waitFor();
        const left = (await waybill.ledger()).filter(({ state }) => state === 'dead');
        expect(left.map(({ id }) => id)).toEqual([people[0]!.id]);
      });

      it('on all that died of an error, after a dry run, at a rate, with its progress', async () => {
        await waybill.database.query(`DELETE FROM task WHERE state = 'dead'`);
        const people = await Promise.all([buried(), buried(), buried()]);
        for (const { email } of people) waybill.mail.when(email, 'accept');
        await open('/dead');
        await press(/^Redrive all of account.send_verification_email: /);
        const dialog = page.getByRole('dialog');
        await dialog.getByText(/Redrive 3 dead tasks/).waitFor();
        expect((await waybill.ledger()).filter(({ state }) => state === 'dead')).toHaveLength(3);
        await dialog.getByLabel(/At most so many a second/).fill('2');
        await confirm('Redrive');
        await page
          .getByRole('status')
          .getByText(/3 done|\d of 3 done/)
          .first()
          .waitFor();
        for (const { email } of people) await waybill.mail.mailTo(email);
        expect(await lastAction()).toMatch(/Redrive 3 dead tasks.*\s+3 done/s);
      });

      it('on all that match a search, and stops it', async () => {
        await waybill.database.query(
          `INSERT INTO task (id, type, queue, payload, options, state, reason, error, finished_at)
           SELECT gen_random_uuid(), 'another.version', 'default', '{}', '{"maxRetry": 0, "timeout": 60000}', 'dead', 'retry skipped', 'no', now()
           FROM generate_series(1, 60)`,
        );
        await open('/tasks?state=dead&type=another.version');
        await rows().first().waitFor();
        await press('Redrive all');
        await page
          .getByRole('dialog')
          .getByText(/60 dead tasks/)
          .waitFor();
        await page.getByLabel(/At most so many a second/).fill('4');
        await confirm('Redrive');
        await press('Stop');
        const ended = await eventually(async () => {
          const [row] = await waybill.database.query<{ state: string; done: number; finished_at: Date | null }>(
            `SELECT * FROM task_action WHERE kind = 'redrive' ORDER BY id DESC LIMIT 1`,
          );
          return row?.finished_at ? row : undefined;
        });
        expect(ended.state).toBe('stopped');
        expect(ended.done).toBeLessThan(60);
        await page
          .getByText(/stopped/)
          .first()
          .waitFor();
        await waybill.database.query(`DELETE FROM task WHERE type = 'another.version'`);
      });

      it('pauses a queue and resumes it', async () => {
        await open('/');
        await press('Pause critical');
        await page.getByRole('button', { name: 'Resume critical' }).waitFor();
        const person = await signUp('accept');
        await page
          .getByText(/The queue "critical" is paused, and 1 task is due in it/)
          .first()
          .waitFor();
        expect(waybill.mail.triesTo(person.email)).toEqual([]);
        await press('Resume critical');
        await waybill.mail.mailTo(person.email);
      });

      it('pauses a schedule, resumes it, runs it, and deletes one that nobody declares', async () => {
        await waybill.database.query(
          `INSERT INTO task_schedule (type, cron, timezone, next_at, declared_at) VALUES ('gone.schedule', '0 3 * * *', 'Europe/Berlin', now() + interval '1 hour', now() - interval '1 day')`,
        );
        await open('/schedules');
        const declared = page.getByRole('article', { name: 'Schedule account.purge_email_verifications' });
        await declared.getByRole('button', { name: /^Pause/ }).click();
        await declared.getByText('paused', { exact: true }).waitFor();
        const pausedAt = async () =>
          (
            await waybill.database.query<{ paused_at: Date | null }>(
              `SELECT paused_at FROM task_schedule WHERE type = 'account.purge_email_verifications'`,
            )
          )[0]!.paused_at;
        expect(await pausedAt()).toBeInstanceOf(Date);
        await declared.getByRole('button', { name: /^Resume/ }).click();
        await declared.getByText('paused', { exact: true }).waitFor({ state: 'detached' });
        expect(await pausedAt()).toBeNull();
        await declared.getByRole('button', { name: /^Run now/ }).click();
        await declared.getByText('run by an operator').first().waitFor();
        const [ran] = await waybill.database.query<{ task_id: string }>(`SELECT task_id FROM task_action WHERE kind = 'run schedule now'`);
        await waybill.worker.line((line) => line['taskId'] === ran!.task_id && line.msg === 'task completed');
        const gone = page.getByRole('article', { name: 'Schedule gone.schedule' });
        await gone.getByText('every day at 03:00, Europe/Berlin').waitFor();
        await gone.getByRole('button', { name: /^Delete/ }).click();
        await confirm('Delete');
        await gone.waitFor({ state: 'detached' });
        expect(await waybill.database.query(`SELECT FROM task_schedule WHERE type = 'gone.schedule'`)).toEqual([]);
        expect(await lastAction()).toContain('Delete the schedule of "gone.schedule"');
      });
    });

    itOfThePage.each(['light', 'dark'] as const)(
      'has nothing that axe-core finds fault with, and fits on a telephone: %s',
      async (colorScheme) => {
        const dead = await buried();
        const small = await browser.newContext({
          colorScheme,
          viewport: { width: 360, height: 800 },
          storageState: await context.storageState(),
        });
        const tab = await watched(small);
        for (const path of ['/login', ...PAGES, `/tasks/${dead.id}`]) {
          // Who is logged in is led on from the log-in.
          if (path === '/login') await small.clearCookies();
          await tab.goto(`${origin}${path}`);
          await tab.getByRole('heading', { level: 1 }).waitFor();
          await expect.poll(() => tab.getByText('Loading …').count(), { timeout: 20_000 }).toBe(0);
          const wide = await tab.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
          expect([path, wide]).toEqual([path, 0]);
          await tab.evaluate(AXE);
          const violations = await tab.evaluate(
            'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))',
          );
          expect([path, violations]).toEqual([path, []]);
          if (path === '/login') await small.addCookies((await context.storageState()).cookies);
        }
        await small.close();
      },
    );
  });
}
