import { UserService } from '@app/contract';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { createUser } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres', { environment: { DATABASE_POOL_SIZE: '1' } });
  await waybill.startApi();
});
afterAll(() => waybill?.close());

const readings = async () =>
  Object.fromEntries(
    (
      await waybill.database.query<{ relname: string; scans: number; seeks: number }>(
        `SELECT relname, seq_scan::int AS scans, idx_scan::int AS seeks FROM pg_stat_user_tables
         WHERE relname IN ('users', 'session', 'account_event', 'task')`,
      )
    ).map(({ relname, ...counts }) => [relname, counts]),
  );

it('reads along indexes, by plans that were made while there was next to nothing, once there is much', async () => {
  const person = somebody();
  expect((await waybill.http.call(createUser, person)).code).toBe(Code.OK);
  await waybill.database.query('UPDATE users SET is_email_verified = true');
  // A plan is kept from the sixth time on.
  const several = async () => {
    for (let turn = 0; turn < 12; turn++) await logIn(waybill.http, person);
    for (let turn = 0; turn < 12; turn++) await waybill.http.call(createUser, somebody());
  };
  // By what Postgres knows then, a table is read soonest as a whole.
  await waybill.database.query('ANALYZE');
  await several();
  await waybill.database.query(
    `WITH many AS (
       INSERT INTO users (id, username, full_name, email, password_hash, is_email_verified)
       SELECT gen_random_uuid(), 'someone' || n, 'Some One', 'someone' || n || '@example.com', '', true FROM generate_series(1, 20000) AS n
       RETURNING id)
     INSERT INTO session (id, user_id, refresh_digest, client, user_agent, expires_at)
     SELECT gen_random_uuid(), id, '', '', '', now() + interval '1 day' FROM many`,
  );
  // What this connection has read itself is counted now, and not a while later.
  await waybill.database.query('SELECT pg_stat_force_next_flush()');
  const before = await readings();
  await several();
  const after = await eventually(async () => {
    const now = await readings();
    return now['users']!.seeks > before['users']!.seeks + 24 && now['session']!.seeks > before['session']!.seeks ? now : undefined;
  });
  for (const table of ['users', 'session', 'account_event', 'task']) {
    expect([table, after[table]!.scans]).toEqual([table, before[table]!.scans]);
  }
});
