import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { Waybill } from '../support/waybill.js';
import { describeDatabaseOutage } from './database-outage.suite.js';

describeDatabaseOutage('postgres');

// BullMQ does not try again: such a worker would run, and never take a task of that queue.
it('a worker whose queues get no connection ends, and says why', { timeout: 60_000 }, async () => {
  const waybill = await Waybill.create('postgres');
  const role = `limited_${randomUUID().slice(0, 8)}`;
  await waybill.database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'limited' CONNECTION LIMIT 1`);
  // It may look whether BullMQ's tables are there, for which a worker waits before it begins.
  await waybill.database.query(`GRANT USAGE ON SCHEMA bullmq TO ${role}; GRANT ALL ON ALL TABLES IN SCHEMA public, bullmq TO ${role}`);
  const url = new URL(waybill.database.url);
  url.username = role;
  url.password = 'limited';
  const worker = waybill.run('worker', { DATABASE_URL: url.href });
  expect(await worker.end(30_000)).toBe(1);
  expect(worker.output).toContain(`too many connections for role "${role}"`);
  await waybill.database.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await waybill.close();
});
