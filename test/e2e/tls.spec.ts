import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, copyFileSync, chmodSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stack/ports.ts';
import { endWithThisProcess } from '../../scripts/stack/watchdog.ts';
import { Code } from '../support/callers.js';
import { asSuperuser } from '../support/database.js';
import { CERTIFICATE, KEY } from '../support/mail-server.js';
import { somebody } from '../support/people.js';
import { PrivatePostgres } from '../support/private-postgres.js';
import { hasPrivateRedis, redisProgram } from '../support/private-redis.js';
import { Waybill } from '../support/waybill.js';

/** From now on this server takes no connection over the network without TLS. */
async function requireTls(postgres: PrivatePostgres): Promise<void> {
  const files = { certificate: join(postgres.dataDir, 'tls.crt'), key: join(postgres.dataDir, 'tls.key') };
  copyFileSync(CERTIFICATE, files.certificate);
  copyFileSync(KEY, files.key);
  // As the server demands: its own, and nobody else's to read.
  const { uid, gid } = statSync(postgres.dataDir);
  chmodSync(files.key, 0o600);
  for (const file of Object.values(files)) chownSync(file, uid, gid);
  for (const [name, value] of [
    ['ssl_cert_file', files.certificate],
    ['ssl_key_file', files.key],
    ['ssl', 'on'],
  ]) {
    await asSuperuser(postgres.url, `ALTER SYSTEM SET ${name} = '${value}'`);
  }
  writeFileSync(join(postgres.dataDir, 'pg_hba.conf'), 'hostssl all all 127.0.0.1/32 scram-sha-256\n');
  await asSuperuser(postgres.url, 'SELECT pg_reload_conf()');
}

describe.skipIf(!hasPrivateRedis)('with a database and a Redis that speak nothing but TLS', { timeout: 60_000 }, () => {
  let postgres: PrivatePostgres;
  let redis: ChildProcess;
  let redisPort: number;

  beforeAll(async () => {
    postgres = await PrivatePostgres.start();
    await requireTls(postgres);
    redisPort = await freePort();
    redis = spawn(
      redisProgram!,
      ['--port', '0', '--tls-port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--requirepass', 'a-redis-password'].concat([
        '--tls-cert-file',
        CERTIFICATE,
        '--tls-key-file',
        KEY,
        '--tls-auth-clients',
        'no',
        '--maxmemory-policy',
        'noeviction',
      ]),
      { cwd: tmpdir(), stdio: 'ignore' },
    );
    redis.once('exit', endWithThisProcess(redis.pid!, 'TERM'));
  }, 60_000);
  afterAll(async () => {
    redis?.kill('SIGKILL');
    if (redis?.exitCode === null && redis.signalCode === null) await once(redis, 'exit');
    await postgres?.database().drop();
  });

  it.each(['postgres', 'redis'] as const)('everything works when the addresses say so, with the queues in %s', async (dispatcher) => {
    const url = new URL(postgres.url);
    url.searchParams.set('sslmode', 'verify-full');
    url.searchParams.set('sslrootcert', CERTIFICATE);
    const waybill = await Waybill.create(dispatcher, {
      database: { ...postgres.database(url.href), drop: async () => undefined },
      environment: {
        NODE_EXTRA_CA_CERTS: CERTIFICATE,
        REDIS_ADDRESS: dispatcher === 'redis' ? `rediss://:a-redis-password@127.0.0.1:${redisPort}` : '',
      },
    });
    try {
      expect(await waybill.run('migrate').end()).toBe(0);
      await Promise.all([waybill.startApi(), waybill.startWorker()]);
      const person = somebody();
      expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
      await waybill.mail.mailTo(person.email);
      const sessions = await waybill.database.query<{ ssl: boolean }>(
        `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'waybill%'`,
      );
      expect(sessions.length).toBeGreaterThan(2);
      expect(sessions.every(({ ssl }) => ssl)).toBe(true);
    } finally {
      await waybill.close();
    }
  });

  it('an address that does not ask for it leads nowhere', async () => {
    const waybill = await Waybill.create('postgres', { database: { ...postgres.database(), drop: async () => undefined } });
    const worker = waybill.run('worker');
    expect(await worker.end()).toBe(1);
    expect(worker.output).toContain('no encryption');
    await waybill.close();
  });
});
