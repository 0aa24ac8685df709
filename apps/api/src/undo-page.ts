import escapeHtml from 'escape-html';
import { linkButton, page } from './page.js';

function undoForm(token: string): string {
  return `<form method="post" action="undo-email-change">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button type="submit">Take my address back</button>
</form>`;
}

/** Asks for the click that takes the address back: opening the link changes nothing, since mail scanners do that too. */
export function confirmUndoPage(token: string, username: string): string {
  return page(
    'Take your e-mail address back',
    `One click gives the account ${username} back the address that this mail came to. Its sessions end, its password is void, and we mail you a link for a new one.`,
    undoForm(token),
  );
}

/** The account has its former address. */
export function undonePage(username: string): string {
  return page(
    'Your e-mail address is back',
    `The account ${username} is logged out everywhere, and its password is void. Look into your mailbox: the link in our mail is for a new one.`,
    linkButton('reset-password/new', 'No mail? Get another link'),
  );
}

/** Wrong, expired and used links alike, and those of an address that another account has now. */
export function invalidUndoLinkPage(): string {
  return page(
    'This link is no longer valid',
    'It works for 7 days after the change, once, only if it was copied as a whole, and not if another account has the address now.',
    linkButton('./', 'To the start page'),
  );
}

/** Not the link's fault: the same click may work a moment later. */
export function undoAgainPage(token: string): string {
  return page('That did not work just now', 'Your link is still fine. Please try again in a moment.', undoForm(token));
}
