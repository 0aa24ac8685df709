import { randomBytes } from 'node:crypto';
import { SessionService, UserService } from '@app/contract';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Code } from '../support/callers.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { account, logIn } from '../support/sessions.js';
import { Waybill } from '../support/waybill.js';

const { changeEmail, createUser, getUser, requestPasswordReset, resetPassword, verifyEmail } = UserService.method;
const { refreshSession } = SessionService.method;

let waybill: Waybill;
beforeAll(async () => {
  waybill = await Waybill.start('postgres');
  await waybill.retryQuickly(1_000);
});
afterAll(() => waybill?.close());

/** Signs up, asks for a reset, changes an address, and has changed one: each is to be mailed a link. */
async function mailedLinks() {
  const [signUp, forgetful, mover, moved] = [somebody(), await account(waybill), await account(waybill), await account(waybill)];
  const [newAddress, taken] = [somebody().email, somebody().email];
  const moving = await logIn(waybill.grpc, moved);
  const ask = async (newEmail: string, { person, headers }: typeof moving) =>
    expect((await waybill.http.call(changeEmail, { newEmail, currentPassword: person.password }, headers)).code).toBe(Code.OK);
  await ask(taken, moving);
  const { token } = await waybill.mail.mailTo(taken);
  return { signUp, forgetful, mover: await logIn(waybill.http, mover), moved, newAddress, ask, token };
}

type Links = Awaited<ReturnType<typeof mailedLinks>>;

/** Whom each link is mailed to, and where it leads. */
const addressesOf = ({ signUp, forgetful, newAddress, moved }: Links) =>
  [
    [signUp.email, '/verify-email'],
    [forgetful.email, '/reset-password'],
    [newAddress, '/verify-email'],
    [moved.email, '/undo-email-change'],
  ] as const;
const linksOf = (links: Links) =>
  Promise.all(
    addressesOf(links).map(async ([email, path]) => {
      const { token } = await eventually(() => waybill.mail.mailsTo(email).find(({ link }) => link.includes(path)));
      return token;
    }),
  );

it('a new SECRET_KEY leaves links and tokens that are out as they are, and mails that are on their way have links that work', async () => {
  const [out, late] = [await mailedLinks(), await mailedLinks()];
  await waybill.idle();
  for (const [email] of addressesOf(late)) waybill.mail.when(email, { refuse: 451, at: 'recipient' });
  for (const { signUp, forgetful, mover, newAddress, ask, token } of [out, late]) {
    expect((await waybill.http.call(createUser, signUp)).code).toBe(Code.OK);
    expect((await waybill.grpc.call(requestPasswordReset, { email: forgetful.email })).code).toBe(Code.OK);
    await ask(newAddress, mover);
    expect((await waybill.grpc.call(verifyEmail, { token })).code).toBe(Code.OK);
  }
  const tokens = await linksOf(out);
  // Every mail that is late was tried once, its link made by the old key.
  const refused = `SELECT FROM task WHERE type LIKE 'account.send_%' AND state = 'pending' AND failures > 0`;
  await eventually(async () => (await waybill.database.query(refused)).length === 4);
  const session = await logIn(waybill.http, await account(waybill));
  const refresh = (refreshToken: string) => waybill.grpc.call(refreshSession, { refreshToken });
  const second = (await refresh(session.tokens.refreshToken)).response!.tokens!;
  await waybill.database.query(`UPDATE session SET rotated_at = ARRAY[now() - interval '1 minute'] WHERE id = $1`, [session.sessionId]);

  await Promise.all([waybill.api.stop(), waybill.worker.stop()]);
  const SECRET_KEY = randomBytes(32).toString('base64');
  await Promise.all([waybill.startApi({ SECRET_KEY }), waybill.startWorker({ SECRET_KEY })]);
  for (const [email] of addressesOf(late)) waybill.mail.when(email, 'accept');

  const redeem = async ([signUp, reset, change, undo]: readonly string[], newPassword: string) => {
    const answers = [
      await waybill.http.call(verifyEmail, { token: signUp! }),
      await waybill.grpc.call(resetPassword, { token: reset!, newPassword }),
      await waybill.grpc.call(verifyEmail, { token: change! }),
    ];
    expect(answers.map(({ code }) => code)).toEqual([Code.OK, Code.OK, Code.OK]);
    const answer = await waybill.fetch('/undo-email-change', { method: 'POST', body: new URLSearchParams({ token: undo! }) });
    expect(await answer.text()).toContain('Your e-mail address is back');
  };
  await redeem(tokens, 'a new and better one');
  await redeem(await linksOf(late), 'another new and better one');

  // The one that was used long ago is not known any more: it ends nothing.
  expect(await refresh(session.tokens.refreshToken)).toMatchObject({ code: Code.UNAUTHENTICATED, reason: 'REFRESH_TOKEN_INVALID' });
  const third = (await refresh(second.refreshToken)).response!.tokens!;
  for (const { accessToken } of [session.tokens, second, third]) {
    for (const caller of waybill.callers) {
      expect((await caller.call(getUser, {}, { authorization: `Bearer ${accessToken}` })).code).toBe(Code.OK);
    }
  }
});
