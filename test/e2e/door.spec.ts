import { readFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium, type Browser } from 'playwright-core';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { executablePath, explainMissingBrowser } from '../support/browser.js';
import { freePort } from '../../scripts/stack/ports.ts';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

explainMissingBrowser('the pages of the api');

const PROTOBUF = '/node_modules/@bufbuild/protobuf/dist/esm';
const PAGE = `<!doctype html><title>page</title><script type="importmap">${JSON.stringify({
  imports: {
    '@waybill/client': '/clients/typescript/src/index.js',
    '@bufbuild/protobuf': `${PROTOBUF}/index.js`,
    '@bufbuild/protobuf/codegenv2': `${PROTOBUF}/codegenv2/index.js`,
    '@bufbuild/protobuf/wkt': `${PROTOBUF}/wkt/index.js`,
  },
})}</script>`;

/** The page, and the modules of the client as its build makes them. */
async function serve(path: string, response: ServerResponse): Promise<void> {
  if (!path.endsWith('.js')) {
    response.setHeader('content-type', 'text/html').end(PAGE);
    return;
  }
  const isOurs = path.startsWith('/clients/');
  const source = await readFile(new URL(`../..${isOurs ? path.replace(/js$/, 'ts') : path}`, import.meta.url), 'utf8');
  const { ESNext } = ts.ModuleKind;
  const text = isOurs ? ts.transpile(source, { module: ESNext, target: ts.ScriptTarget.ES2022 }) : source;
  response.setHeader('content-type', 'text/javascript').end(text);
}

let waybill: Waybill;
/** Of another origin, which may call. */
let page: Server;
let origin: string;
beforeAll(async () => {
  page = createServer((request, response) => {
    serve(request.url!, response).catch((error: unknown) => response.writeHead(404).end(String(error)));
  });
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(page.address() as AddressInfo).port}`;
  const httpPort = await freePort();
  waybill = await Waybill.create('postgres', {
    environment: {
      HTTP_PORT: String(httpPort),
      PUBLIC_URL: `http://127.0.0.1:${httpPort}/accounts`,
      CORS_ORIGINS: `https://app.example.com,${origin}`,
    },
  });
  await waybill.startApi();
});
afterAll(async () => {
  await waybill?.close();
  page?.close();
});

const at = (path: string, init?: RequestInit) => waybill.fetch(path, init);

describe('what the api says of itself', () => {
  it('is a short page for people, and JSON for who asks for that', async () => {
    const url = waybill.environment['PUBLIC_URL']!;
    for (const accept of ['text/html', '*/*', 'image/avif', 'text/html,application/json;q=0.9']) {
      const response = await at('/', { headers: { accept } });
      const text = await response.text();
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
      for (const link of [`${url}/docs`, `${url}/openapi.json`]) expect(text).toContain(`href="${link}"`);
      expect(text).not.toContain('<script');
    }
    const json = await at('/', { headers: { accept: 'application/json' } });
    expect(await json.json()).toEqual({ name: 'Waybill', status: 'running', docs: `${url}/docs`, openapi: `${url}/openapi.json` });
  });

  it('is the contract, for tools, where this api is reached', async () => {
    const response = await at('/openapi.json');
    const document = (await response.json()) as { openapi: string; servers: unknown; paths: object };
    expect(document).toMatchObject({ openapi: '3.1.1', servers: [{ url: '/accounts' }] });
    expect(Object.keys(document.paths)).toContain('/v1/users');
    const again = await at('/openapi.json', { headers: { 'if-none-match': response.headers.get('etag')! } });
    expect([again.status, await again.text()]).toEqual([304, '']);
  });

  it('is a reference of which every part is from here', async () => {
    const response = await at('/docs');
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/);
    for (const [, address] of (await response.text()).matchAll(/(?:src|href)="([^"]+)"/g)) {
      const part = await at(`/accounts/${address}`);
      expect([address, part.status, part.headers.get('x-content-type-options')]).toEqual([address, 200, 'nosniff']);
      await part.arrayBuffer();
    }
    for (const path of ['/docs/nothing', '/docs/__proto__', '/docs/..%2fpackage.json']) expect((await at(path)).status).toBe(404);
  });

  it('is the same head without its body, and what a path answers to', async () => {
    for (const path of ['/', '/docs', '/openapi.json', '/healthz']) {
      const [head, options] = [await at(path, { method: 'HEAD' }), await at(path, { method: 'OPTIONS' })];
      expect([path, head.status, await head.text(), options.status, options.headers.get('allow')]).toEqual([
        path,
        200,
        '',
        204,
        'GET, HEAD, OPTIONS',
      ]);
    }
    expect((await at('/v1/users', { method: 'OPTIONS' })).headers.get('allow')).toBe('POST, OPTIONS');
  });
});

describe('a web page of another origin', () => {
  const preflight = (from: string, path = '/v1/users', headers = 'content-type,x-request-id') =>
    at(path, {
      method: 'OPTIONS',
      headers: { origin: from, 'access-control-request-method': 'POST', 'access-control-request-headers': headers },
    });

  it('may call when it is named, and no other that looks like it', async () => {
    const allowed = await preflight(origin);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-origin')).toBe(origin);
    expect(allowed.headers.get('access-control-allow-headers')).toBe('authorization, content-type, x-request-id, traceparent, tracestate');
    expect(allowed.headers.get('vary')).toMatch(/origin/i);
    const { port } = new URL(origin);
    const others = [
      `${origin}.evil.example`,
      `https://127.0.0.1:${port}`,
      `http://127.0.0.1:${port}1`,
      'null',
      'https://app.example.com:8443',
    ];
    others.push('https://xapp.example.com', 'https://app.example.com.evil.example', 'HTTPS://APP.EXAMPLE.COM', 'https://app.example.com/');
    for (const other of others) {
      for (const response of [await preflight(other), await at('/healthz', { headers: { origin: other } })]) {
        expect([other, response.headers.get('access-control-allow-origin')]).toEqual([other, null]);
      }
    }
  });

  it('reads errors too, with what it needs for trying again', async () => {
    const response = await at('/nowhere', { headers: { origin } });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([404, origin]);
    expect(response.headers.get('access-control-expose-headers')).toBe('x-request-id, retry-after');
  });

  it('is answered fast, however many preflights come', async () => {
    const begin = performance.now();
    const flood = Array.from({ length: 20 }, async () => {
      for (let n = 0; n < 50; n++) await (await preflight('https://evil.example', '/v1/users', 'x'.repeat(1_000))).arrayBuffer();
    });
    await Promise.all(flood);
    expect(performance.now() - begin).toBeLessThan(15_000);
    expect((await at('/readyz')).status).toBe(200);
  });
});

describe.skipIf(executablePath === undefined)('in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
  });
  afterAll(() => browser?.close());

  it('somebody signs up from the reference', async () => {
    const tab = await browser.newPage();
    const problems: string[] = [];
    const elsewhere: string[] = [];
    tab.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    tab.on('pageerror', (error) => problems.push(error.message));
    const url = waybill.environment['PUBLIC_URL']!;
    tab.on('request', (request) => !request.url().startsWith(url) && !request.url().startsWith('data:') && elsewhere.push(request.url()));
    await tab.goto(url);
    await tab.getByRole('link', { name: 'Read and try the API' }).click();
    await tab.locator('#operations-UserService-UserService_CreateUser .opblock-summary-control').click();
    const person = somebody();
    await tab.locator('#operations-UserService-UserService_CreateUser textarea').fill(JSON.stringify(person));
    await tab.getByRole('button', { name: 'Execute' }).click();
    const answer = tab.locator('.live-responses-table .response').first();
    await expect.poll(() => answer.innerText(), { timeout: 10_000 }).toContain(person.username);
    expect(await answer.innerText()).toMatch(/^200/);
    expect(await waybill.database.query('SELECT FROM users WHERE username = $1', [person.username])).toHaveLength(1);
    expect([problems, elsewhere]).toEqual([[], []]);
  });

  it('a page of another origin signs somebody up, and reads the id of its request', async () => {
    const tab = await browser.newPage();
    await tab.goto(origin);
    const call = async (api: string, body: unknown) => {
      const response = await fetch(`${api}/v1/users`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-request-id': 'from-a-page' },
        body: JSON.stringify(body),
      });
      return [response.status, response.headers.get('x-request-id')];
    };
    const url = waybill.environment['PUBLIC_URL']!;
    const result = tab.evaluate(`(${String(call)})(${JSON.stringify(url)}, ${JSON.stringify(somebody())})`);
    expect(await result).toEqual([200, 'from-a-page']);
    // The same machine by another name is another origin.
    await tab.goto(origin.replace('127.0.0.1', 'localhost'));
    await expect(tab.evaluate(`(${String(call)})(${JSON.stringify(url)}, ${JSON.stringify(somebody())})`)).rejects.toThrow(
      'Failed to fetch',
    );
  });

  it('the client signs somebody up from a page of another origin, and tells what is wrong with a field', async () => {
    const tab = await browser.newPage();
    await tab.goto(origin);
    const call = `async (baseUrl, person) => {
      const { createClient, UserService, ValidationError } = await import('@waybill/client');
      const users = createClient(UserService, { baseUrl });
      const { user } = await users.createUser(person);
      const refused = await users.createUser({ ...person, email: 'nobody' }).catch((error) => error);
      return [user.username, refused instanceof ValidationError, refused.violations.map(({ field }) => field), refused.requestId];
    }`;
    const person = somebody();
    const result = await tab.evaluate(`(${call})(${JSON.stringify(waybill.environment['PUBLIC_URL'])}, ${JSON.stringify(person)})`);
    expect(result).toEqual([person.username, true, ['email', 'username'], expect.stringMatching(/./)]);
  });
});
