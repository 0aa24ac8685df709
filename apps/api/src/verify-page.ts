import escapeHtml from 'escape-html';
import { linkButton, page } from './page.js';

function verifyForm(token: string): string {
  return `<form method="post" action="verify-email">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button type="submit">Verify my e-mail address</button>
</form>`;
}

/** Asks for the click that verifies: opening the link changes nothing, since mail scanners do that too. */
export function confirmPage(token: string, username: string): string {
  return page('Verify your e-mail address', `One click confirms that the address of the account ${username} is yours.`, verifyForm(token));
}

/** The address is verified, now or since an earlier click; leads on to `appUrl`. */
export function verifiedPage(username: string, appUrl: string): string {
  return page('Your e-mail address is verified', `The account ${username} is ready.`, linkButton(appUrl, 'Continue'));
}

/** Wrong, expired and outdated links alike. */
export function invalidLinkPage(): string {
  return page(
    'This link is no longer valid',
    'A link works for 15 minutes, and only if it was copied as a whole. You can ask for a new one.',
    linkButton('verify-email/new', 'Get a new link'),
  );
}

/** Not the link's fault: the same click may work a moment later. */
export function tryAgainPage(token: string): string {
  return page('That did not work just now', 'Your link is still fine. Please try again in a moment.', verifyForm(token));
}

/** Asks for the address that a new link is to be mailed to; `email` is what was given before, and `problem` what was wrong with it. */
export function newLinkPage(email = '', problem?: string): string {
  const described = problem === undefined ? '' : ' aria-invalid="true" aria-describedby="problem"';
  const problemLine = problem === undefined ? '' : `\n<p class="problem" id="problem" role="alert">${escapeHtml(problem)}</p>`;
  return page(
    'Get a new verification link',
    'We mail it to the address that you signed up with.',
    `<form method="post" action="new">
<label for="email">E-mail address</label>
<input type="email" id="email" name="email" value="${escapeHtml(email)}" required maxlength="254" autocomplete="email"${described}>${problemLine}
<button type="submit">Mail me a new link</button>
</form>`,
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
