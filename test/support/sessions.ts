import { SessionService, type Tokens, UserService } from '@app/contract';
import { expect } from 'vitest';
import { type Caller, Code } from './callers.js';
import { somebody } from './people.js';
import type { Waybill } from './waybill.js';

/** What a call in a session carries. */
export const signedIn = ({ accessToken }: Pick<Tokens, 'accessToken'>) => ({ authorization: `Bearer ${accessToken}` });

/** What a session's owner has of it. */
export interface LoggedIn<Person = ReturnType<typeof somebody>> {
  readonly person: Person;
  readonly sessionId: string;
  readonly tokens: Tokens;
  /** For the calls of the session. */
  readonly headers: { readonly authorization: string };
}

/** Somebody with an account, whose address is verified by hand: no mail is sent for it. */
export async function account(waybill: Waybill): Promise<ReturnType<typeof somebody>> {
  const person = somebody();
  expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  await waybill.database.query('UPDATE users SET is_email_verified = true WHERE username = $1', [person.username]);
  return person;
}

/** Somebody with an account, who has verified the address by the link of the first mail. */
export async function accountByMail(waybill: Waybill, person = somebody()): Promise<typeof person> {
  expect((await waybill.http.call(UserService.method.createUser, person)).code).toBe(Code.OK);
  const { token } = await waybill.mail.mailTo(person.email);
  expect((await waybill.http.call(UserService.method.verifyEmail, { token })).code).toBe(Code.OK);
  return person;
}

/** Logs somebody in, who must get in; by the username, unless there is another login. */
export async function logIn<Person extends { readonly username: string; readonly password: string; readonly login?: string }>(
  caller: Caller,
  person: Person,
  headers: Readonly<Record<string, string>> = {},
): Promise<LoggedIn<Person>> {
  const { login = person.username, password } = person;
  const answer = await caller.call(SessionService.method.createSession, { login, password }, headers);
  expect(answer).toMatchObject({ code: Code.OK });
  const { session, tokens } = answer.response!;
  return { person, sessionId: session!.id, tokens: tokens!, headers: signedIn(tokens!) };
}
