import escapeHtml from 'escape-html';
import { addressForm, describedBy, linkButton, page, problemLine } from './page.js';

/**
 * Asks for the new password of an account: opening the link changes nothing, since mail scanners do that too.
 *
 * @param problem what was wrong with the password that was given before, which is not repeated.
 */
export function newPasswordPage(token: string, username: string, problem?: string): string {
  // The account's name is there for password managers, which keep the two together.
  return page(
    'Choose a new password',
    `It is for the account ${username}, which is logged out everywhere. At least 8 characters: a few words are easy to remember and hard to guess.`,
    `<form method="post" action="reset-password">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<input type="text" name="username" value="${escapeHtml(username)}" autocomplete="username" readonly hidden>
<label for="password">New password</label>
<input type="password" id="password" name="password" required minlength="8" autocomplete="new-password"${describedBy(problem)}>${problemLine(problem)}
<button type="submit">Set the new password</button>
</form>`,
  );
}

/** The password is set; leads on to `appUrl`. */
export function passwordSetPage(appUrl: string): string {
  return page('Your password is changed', 'From now on you log in with the new one.', linkButton(appUrl, 'Continue'));
}

/** Wrong, expired, used and outdated links alike. */
export function invalidResetLinkPage(): string {
  return page(
    'This link is no longer valid',
    'A link works once, for 15 minutes, and only if it was copied as a whole. You can ask for a new one.',
    linkButton('reset-password/new', 'Get a new link'),
  );
}

/** Not the link's fault: the same link may work a moment later. Leads to the link again, for the password is not repeated. */
export function resetAgainPage(token: string): string {
  return page(
    'That did not work just now',
    'Your link is still fine. Please try again in a moment.',
    linkButton(`reset-password?token=${encodeURIComponent(token)}`, 'Try again'),
  );
}

/** Asks for the address of the account; `email` is what was given before, and `problem` what was wrong with it. */
export function askForResetPage(email = '', problem?: string): string {
  return page(
    'Choose a new password',
    'We mail a link for that to the address of your account.',
    addressForm('Mail me a link', email, problem),
  );
}

/** The same for every address, whoever has it. */
export function resetLinkSentPage(): string {
  return page(
    'Look into your mailbox',
    'If there is an account with this address, a mail with a link is on its way, at most one a minute. Where the address still has to be verified, that comes first.',
    `${linkButton('new', 'Use another address')}\n<ul><li><a class="link" href="../verify-email/new">Get a new verification link</a></li></ul>`,
  );
}
