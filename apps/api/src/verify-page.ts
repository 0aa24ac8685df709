import { createHash } from 'node:crypto';

const STYLE = `
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--paper:#fff;--ground:#f3f5f8;--line:#d9dfe7;--accent:#1f5fd0;--on-accent:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e8ecf2;--dim:#a3adbb;--paper:#1b2028;--ground:#11151b;--line:#303846;--accent:#8ab4ff;--on-accent:#0d1420}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);font:1.0625rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:26rem;padding:2rem;background:var(--paper);border:1px solid var(--line);border-radius:1rem}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}
p{margin:0 0 1.5rem;color:var(--dim)}
p:last-child{margin:0}
form{margin:0}
button{width:100%;min-height:3rem;padding:.75rem 1rem;border:0;border-radius:.625rem;background:var(--accent);color:var(--on-accent);font:inherit;font-weight:600;cursor:pointer}
button:hover{filter:brightness(1.08)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** The headers of every page: nothing but its own style may load, and the token in its address goes nowhere else. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-robots-tag': 'noindex',
};

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** A text as HTML, in an element or in a quoted attribute. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character]!);
}

function page(heading: string, text: string, form = ''): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(heading)} · Waybill</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(heading)}</h1>
<p>${escapeHtml(text)}</p>${form}
</main>
</body>
</html>
`;
}

function form(token: string): string {
  return `
<form method="post" action="/verify-email">
<input type="hidden" name="token" value="${escapeHtml(token)}">
<button type="submit">Verify my e-mail address</button>
</form>`;
}

/** Asks for the click that verifies: opening the link changes nothing, since mail scanners do that too. */
export function confirmPage(token: string): string {
  return page('Verify your e-mail address', 'One click, and this address is confirmed as yours.', form(token));
}

/** The address is verified now. */
export function verifiedPage(): string {
  return page('Your e-mail address is verified', 'Thank you. You can close this page.');
}

/** Wrong, used, expired and superseded links alike. */
export function invalidLinkPage(): string {
  return page(
    'This link is no longer valid',
    'It may have been used already, have expired, or have been replaced by a newer one. You can ask for a new mail.',
  );
}

/** Not the link's fault: the same click may work a moment later. */
export function tryAgainPage(token: string): string {
  return page('That did not work just now', 'Your link is still fine. Please try again in a moment.', form(token));
}
