import { SessionService, UserService } from '@app/contract';
import { expect } from 'vitest';
import { type Caller, Code } from './callers.js';
import { somebody } from './people.js';
import type { Waybill } from './waybill.js';

/** Somebody who has an account: signed up, and verified by the link of the first mail. */
export async function account(waybill: Waybill, person = somebody()): Promise<typeof person> {
  expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  const { token } = await waybill.mail.mailTo(person.email);
  expect((await waybill.http.call(UserService.method.verifyEmail, { token })).code).toBe(Code.OK);
  return person;
}

/** What a call carries of somebody who logs in. */
export async function logIn(caller: Caller, login: string, password: string): Promise<{ authorization: string }> {
  const { code, response } = await caller.call(SessionService.method.createSession, { login, password });
  expect(code).toBe(Code.OK);
  return { authorization: `Bearer ${response!.tokens!.accessToken}` };
}
