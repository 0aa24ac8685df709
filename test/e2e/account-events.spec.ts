import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const { createUser, verifyEmail } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres', { environment: { TRUST_PROXY: 'loopback' } });
});
afterAll(async () => {
  // Its mails are not to be cut off in the middle.
  await waybill?.idle();
  await waybill?.close();
});

interface EventRow {
  readonly kind: string;
  readonly client: string | null;
  readonly days: number;
  readonly age: number;
}

/** What is recorded of an account, the oldest first. */
const eventsOf = (userId: string) =>
  waybill.database.query<EventRow>(
    `SELECT kind, client, round(extract(epoch FROM expires_at - created_at) / 86400)::int AS days, extract(epoch FROM now() - created_at)::float8 AS age
     FROM account_event WHERE user_id = $1 ORDER BY id`,
    [userId],
  );
const from = (client: string) => ({ 'x-forwarded-for': client });
const linesOf = (userId: string) =>
  waybill.lines.filter(({ msg, ...line }) => msg === 'account event' && line['userId'] === userId).map((line) => line['event']);

async function signedUp(transport: 'http' | 'grpc', client = '192.0.2.1') {
  const person = somebody();
  expect((await waybill[transport].call(createUser, person, from(client))).code).toBe(Code.OK);
  const [row] = await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [person.username]);
  return { person, userId: row!.id, ...(await waybill.mail.mailTo(person.email)) };
}

describe('what happens to an account', () => {
  it.each(['http', 'grpc'] as const)('is a row and a line: who, what, from where, when, over %s', async (transport) => {
    const { person, userId, token } = await signedUp(transport);
    expect(await eventsOf(userId)).toMatchObject([{ kind: 'signed_up', client: '192.0.2.1', days: 2 }]);
    const headers = { ...from('2001:db8::7'), 'x-request-id': `events-${transport}` };
    expect((await waybill[transport].call(verifyEmail, { token }, headers)).code).toBe(Code.OK);
    // Again by the same link is success too, and no event.
    expect((await waybill[transport].call(verifyEmail, { token }, headers)).code).toBe(Code.OK);
    const events = await eventsOf(userId);
    expect(events).toMatchObject([
      { kind: 'signed_up', client: '192.0.2.1', days: 90 },
      { kind: 'email_verified', client: '2001:db8::7', days: 90 },
    ]);
    for (const { age } of events) expect(age).toBeLessThan(60);

    const line = await waybill.api.line(
      ({ msg, event, userId: id }) => msg === 'account event' && event === 'email_verified' && id === userId,
    );
    expect(line).toMatchObject({ client: '2001:db8::7', requestId: `events-${transport}`, app: 'api' });
    expect(linesOf(userId)).toEqual(['signed_up', 'email_verified']);
    for (const secret of [person.username, person.email, person.fullName, token]) expect(JSON.stringify(line)).not.toContain(secret);
  });

  it('is not said when its transaction is rolled back', async () => {
    const { person } = await signedUp('http');
    const taken = await waybill.http.call(createUser, { ...somebody(), username: person.username });
    expect(taken.code).toBe(Code.ALREADY_EXISTS);
    await waybill.database.query(`
      CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.type = 'account.send_verification_email' THEN RAISE EXCEPTION 'no task'; END IF; RETURN NEW; END $$`);
    await waybill.database.query('CREATE TRIGGER refuse_event BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION refuse_event()');
    const said = () => waybill.lines.filter(({ msg, event }) => msg === 'account event' && event === 'signed_up').length;
    const before = said();
    const rows = () => waybill.database.query('SELECT FROM account_event').then(({ length }) => length);
    const rowsBefore = await rows();
    expect((await waybill.http.call(createUser, somebody())).code).toBe(Code.INTERNAL);
    await waybill.database.query('DROP TRIGGER refuse_event ON task');
    await signedUp('grpc');
    expect([said() - before, (await rows()) - rowsBefore]).toEqual([1, 1]);
  });

  it('that was disowned by the owner of its address is known for two days', async () => {
    const { userId, token } = await signedUp('http');
    const response = await waybill.fetch('/verify-email/not-me', { method: 'POST', body: new URLSearchParams({ token }) });
    expect(response.status).toBe(200);
    expect(await eventsOf(userId)).toMatchObject([
      { kind: 'signed_up', days: 2 },
      { kind: 'sign_up_disowned', days: 2 },
    ]);
  });

  it('is recorded a hundred times of a kind a day, and said each time', async () => {
    const { userId, token } = await signedUp('http');
    await waybill.database.query(
      `INSERT INTO account_event (id, user_id, kind, expires_at) SELECT gen_random_uuid(), $1, 'email_verified', now() + interval '1 day'
       FROM generate_series(1, 100)`,
      [userId],
    );
    expect((await waybill.http.call(verifyEmail, { token })).code).toBe(Code.OK);
    expect((await eventsOf(userId)).filter(({ kind }) => kind === 'email_verified')).toHaveLength(100);
    await eventually(() => linesOf(userId).includes('email_verified'));
  });

  it('is deleted when it has had its time, and not before', async () => {
    const [old, young] = [await signedUp('http'), await signedUp('grpc')];
    await waybill.database.query(`UPDATE account_event SET expires_at = now() WHERE user_id = $1`, [old.userId]);
    await waybill.database.query(`UPDATE account_event SET expires_at = now() + interval '1 minute' WHERE user_id = $1`, [young.userId]);
    const purge = `UPDATE task_schedule SET next_at = now() WHERE type = 'account.purge_events' RETURNING type`;
    await eventually(async () => (await waybill.database.query(purge)).length === 1);
    await eventually(async () => (await eventsOf(old.userId)).length === 0);
    expect(await eventsOf(young.userId)).toHaveLength(1);
  });
});
