import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stack/ports.ts';
import { createDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { OtlpReceiver } from '../support/otlp-receiver.js';
import { hasPrivateRedis, PrivateRedis } from '../support/private-redis.js';
import { Waybill } from '../support/waybill.js';

describe('the worker’s probes', { timeout: 120_000 }, () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  const probe = async (port: string, path: 'healthz' | 'readyz') => {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`);
    return [response.status, await response.json()] as const;
  };
  const WELL = [200, { status: 'ok' }];
  const unready = (reason: RegExp) => [503, { status: 'unavailable', reason: expect.stringMatching(reason) as string }];

  it('say that the database is not migrated and what to do, are well meanwhile, and ready once it is', async () => {
    const port = String(await freePort());
    const collector = await OtlpReceiver.start();
    closing.push(() => collector.close());
    const waybill = await Waybill.create('postgres', {
      database: await createDatabase({ empty: true }),
      environment: { WORKER_HTTP_PORT: port, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
    });
    closing.push(() => waybill.close());
    const worker = waybill.run('worker');
    await eventually(() => probe(port, 'healthz').catch(() => false), 30_000);
    expect(await probe(port, 'readyz')).toEqual(
      unready(/^the database at .* is not migrated, \d+ migrations are pending: run `make migrate`$/),
    );
    expect(await probe(port, 'healthz')).toEqual(WELL);
    expect(await waybill.run('migrate').end()).toBe(0);
    await eventually(async () => (await probe(port, 'readyz'))[0] === 200, 30_000);
    expect(await probe(port, 'healthz')).toEqual(WELL);

    // The last spans leave with the process; in protobuf, as is the standard, where nothing else is said.
    await waybill.database.query(
      `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'account.purge_sessions', 'default', '{}', '{"maxRetry": 0, "timeout": 60000}')`,
    );
    await worker.line(({ msg }) => msg === 'task completed');
    expect(await worker.stop()).toBe(0);
    expect([...collector.contentTypes]).toEqual(['application/x-protobuf']);
  });

  it('with a collector that is away, the worker works, and ends well', async () => {
    const port = String(await freePort());
    const environment = { WORKER_HTTP_PORT: port, OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}` };
    const waybill = await Waybill.create('postgres', { environment });
    closing.push(() => waybill.close());
    const worker = await waybill.startWorker();
    await waybill.database.query(
      `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'account.purge_sessions', 'default', '{}', '{"maxRetry": 0, "timeout": 60000}')`,
    );
    await worker.line(({ msg }) => msg === 'task completed');
    // It may have done so before its start had come to an end.
    await eventually(async () => (await probe(port, 'readyz'))[0] === 200);
    expect(await probe(port, 'readyz')).toEqual(WELL);
    expect(await worker.stop()).toBe(0);
  });

  it.skipIf(!hasPrivateRedis)('are not ready while Redis is away, and well all the same', async () => {
    const port = String(await freePort());
    const redis = await PrivateRedis.reserve();
    closing.push(() => redis.kill());
    const waybill = await Waybill.create('redis', { environment: { REDIS_ADDRESS: redis.address, WORKER_HTTP_PORT: port } });
    closing.push(() => waybill.close());
    await redis.start();
    await waybill.startWorker();
    await eventually(async () => (await probe(port, 'readyz'))[0] === 200);
    await redis.kill();
    await eventually(async () => (await probe(port, 'readyz'))[0] === 503);
    expect(await probe(port, 'readyz')).toEqual(unready(/^Redis does not take tasks/));
    expect(await probe(port, 'healthz')).toEqual(WELL);
    await redis.start();
    await eventually(async () => (await probe(port, 'readyz'))[0] === 200, 30_000);
  });
});
