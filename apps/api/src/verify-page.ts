import escapeHtml from 'escape-html';
import { addressForm, linkButton, page } from './page.js';

function verifyForm(token: string): string {
  return `<form method="post" action="verify-email">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button type="submit">Verify my e-mail address</button>
</form>`;
}

/** @param action the address of the click, relative to that of the page. */
function disownForm(token: string, action = 'verify-email/not-me'): string {
  return `<form method="post" action="${action}">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button type="submit" class="quiet">This was not me</button>
</form>`;
}

/** Asks for the click that verifies, or the one that deletes the sign-up: opening the link changes nothing, since mail scanners do that too. */
export function confirmPage(token: string, username: string): string {
  return page(
    'Verify your e-mail address',
    `One click confirms that the address of the account ${username} is yours. If you did not sign up as ${username}, say so, and that sign-up is deleted.`,
    `${verifyForm(token)}\n${disownForm(token)}`,
  );
}

/** The same for the new address of an account. */
export function confirmChangePage(token: string, username: string): string {
  return page(
    'Confirm your new e-mail address',
    `One click gives the account ${username} this address in place of its old one. If that is not your account, say so, and nothing changes.`,
    `${verifyForm(token)}\n${disownForm(token)}`,
  );
}

/** The link to the new address of an account is void, at the wish of whoever got the mail. */
export function changeDisownedPage(): string {
  return page(
    'Nothing was changed',
    'The link does not work any more, and no account has your address by it.',
    linkButton('../', 'To the start page'),
  );
}

/** The sign-up is gone, at the wish of whoever got the mail. */
export function disownedPage(): string {
  return page(
    'The sign-up is deleted',
    'Whoever it was has no account with your address. Somebody may try again: no account has it before you have confirmed that.',
    linkButton('../', 'To the start page'),
  );
}

/** There was nothing to delete: what the link was mailed for is deleted already, or it was never a link of ours. */
export function nothingToDisownPage(): string {
  return page(
    'There is nothing to delete',
    'No sign-up waits for this link. It may be deleted already.',
    linkButton('../', 'To the start page'),
  );
}

/** Too late, or a mistake: the address has been confirmed by this very link, or one like it. */
export function verifiedAlreadyPage(username: string): string {
  return page(
    'This address was confirmed before',
    `The account ${username} is ready, and nothing was deleted: somebody who reads your mail has confirmed the address.`,
    linkButton('../', 'To the start page'),
  );
}

/** The address is verified, now or since an earlier click; leads on to `appUrl`. */
export function verifiedPage(username: string, appUrl: string): string {
  return page('Your e-mail address is verified', `The account ${username} is ready.`, linkButton(appUrl, 'Continue'));
}

/** Wrong, expired and outdated links alike. */
export function invalidLinkPage(): string {
  return page(
    'This link is no longer valid',
    'A link works for 15 minutes, and only if it was copied as a whole. You can ask for a new one; for a change of address, ask for it again in your account.',
    linkButton('verify-email/new', 'Get a new link'),
  );
}

/** Not the link's fault: the same click may work a moment later. */
export function tryAgainPage(token: string): string {
  return page('That did not work just now', 'Your link is still fine. Please try again in a moment.', verifyForm(token));
}

/** The same for the click that deletes the sign-up. Its form stands where that click has led. */
export function disownAgainPage(token: string): string {
  return page('That did not work just now', 'Please try again in a moment.', disownForm(token, 'not-me'));
}

/** Asks for the address that a new link is to be mailed to; `email` is what was given before, and `problem` what was wrong with it. */
export function newLinkPage(email = '', problem?: string): string {
  return page(
    'Get a new verification link',
    'We mail it to the address that you signed up with.',
    addressForm('Mail me a new link', email, problem),
  );
}

/** The same for every address, whoever has it. */
export function linkSentPage(): string {
  return page(
    'Look into your mailbox',
    'If an account with this address still has to be verified, a mail with a new link is on its way. There is at most one a minute, and ten a day.',
    linkButton('new', 'Use another address'),
  );
}
