import { UserService } from '@app/contract';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { somebody } from '../support/people.js';
import { account, logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { createUser, getUser } = UserService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.create('postgres');
  await waybill.startApi();
});
afterAll(() => waybill?.close());

const user = async (...args: string[]) => {
  const { code, output } = await waybill.command('user', ...args);
  return { code, output: output.trim() };
};

it('gives a person a role and takes it, in sessions that are open too, and ends their sessions; each is recorded', async () => {
  const { person, headers } = await logIn(waybill.http, await account(waybill));
  const name = person.username;
  const roles = async () => (await waybill.grpc.call(getUser, {}, headers)).response?.user?.roles;
  expect(await roles()).toEqual([]);
  expect(await user('grant', name.toUpperCase(), 'operator')).toEqual({ code: 0, output: `${name.toUpperCase()} is operator now` });
  expect(await roles()).toEqual(['operator']);
  expect(await user('grant', name, 'operator')).toEqual({ code: 0, output: `${name} was operator already` });
  expect(await user('revoke', name, 'operator')).toEqual({ code: 0, output: `${name} is not operator any more` });
  expect(await roles()).toEqual([]);
  expect(await user('revoke', name, 'operator')).toEqual({ code: 0, output: `${name} was not operator` });
  expect(await user('log-out', name)).toEqual({ code: 0, output: `1 session of ${name} ended` });
  expect(await waybill.http.call(getUser, {}, headers)).toMatchObject({ code: Code.UNAUTHENTICATED, reason: 'SESSION_ENDED' });
  const events = await waybill.database.query<{ kind: string }>(
    `SELECT kind FROM account_event JOIN users ON users.id = user_id
     WHERE username = $1 AND kind IN ('role_granted', 'role_revoked', 'all_sessions_ended') ORDER BY account_event.created_at`,
    [name],
  );
  expect(events.map(({ kind }) => kind)).toEqual(['role_granted', 'role_revoked', 'all_sessions_ended']);
});

it('refuses whom and what there is not', async () => {
  const waiting = somebody();
  await waybill.http.call(createUser, waiting);
  for (const args of [
    ['grant', 'nobody_at_all', 'operator'],
    ['grant', waiting.username, 'operator'],
    ['log-out', waiting.username],
  ]) {
    expect(await user(...args)).toEqual({ code: 1, output: `no verified account has the username "${args[1]}"` });
  }
  const { code, output } = await user('grant', waiting.username, 'emperor');
  expect(code).toBe(1);
  expect(output).toContain('Allowed choices are operator');
});
