import { Config } from '@app/config';
import type { TaskQueues } from '@app/tasks';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDashboard } from '../../apps/worker/src/dashboard.js';
import { freePort } from '../../scripts/stack/ports.ts';

const PASSWORD = 'a password of operators';

let server: FastifyInstance | undefined;
let url: string;
beforeAll(async () => {
  const port = await freePort();
  const config = Config.parse({ DASHBOARD_PORT: String(port), DASHBOARD_PASSWORD: PASSWORD });
  // Whose password it is does not depend on which queues there are.
  server = await startDashboard(config, { all: () => [] } as unknown as TaskQueues);
  url = `http://127.0.0.1:${port}/queues`;
});
afterAll(() => server?.close());

const get = (password: string) => fetch(url, { headers: { authorization: `Basic ${btoa(`operator:${password}`)}` } });

it('the dashboard loads nothing from elsewhere, and is shown in nobody’s frame', async () => {
  for (const response of [await get(PASSWORD), await fetch(url)]) {
    const policy = response.headers.get('content-security-policy')!.split('; ');
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy.join(' ')).not.toMatch(/https?:|\*/);
    expect(response.headers.get('x-frame-options')).toBe('DENY');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
  }
});

it('a password can be guessed ten times, and then ten times a minute', async () => {
  // Who knows it is never held up.
  for (let turn = 0; turn < 30; turn++) expect((await get(PASSWORD)).status).toBe(200);
  const statuses: number[] = [];
  for (let turn = 0; turn < 30; turn++) statuses.push((await get(`guess ${turn}`)).status);
  expect(statuses.slice(0, 10)).toEqual(Array<number>(10).fill(401));
  // A slow machine may have had one more by then.
  expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(18);
  const refused = await get(PASSWORD);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(6);
});
