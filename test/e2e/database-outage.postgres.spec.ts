import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { asSuperuser } from '../support/database.js';
import { Waybill } from '../support/waybill.js';
import { describeDatabaseOutage } from './database-outage.suite.js';

describeDatabaseOutage('postgres');

it('a worker whose queues get no connection says so, and begins when there is one', { timeout: 60_000 }, async () => {
  const waybill = await Waybill.create('postgres');
  const role = `limited_${randomUUID().slice(0, 8)}`;
  await asSuperuser(waybill.database.url, `CREATE ROLE ${role} LOGIN PASSWORD 'limited' CONNECTION LIMIT 1`);
  await waybill.database.query(
    `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ${role}`,
  );
  const url = new URL(waybill.database.url);
  url.username = role;
  url.password = 'limited';
  const worker = waybill.run('worker', { DATABASE_URL: url.href });
  await worker.line(
    ({ msg, source, err }) => msg === 'connection lost' && source === 'lease' && String((err as Error).message).includes(role),
  );
  await asSuperuser(waybill.database.url, `ALTER ROLE ${role} CONNECTION LIMIT -1`);
  await worker.line(({ msg }) => msg === 'task processor started');
  expect(await worker.stop()).toBe(0);
  await asSuperuser(waybill.database.url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await waybill.close();
});
