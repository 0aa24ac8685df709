import { createHash } from 'node:crypto';
import escapeHtml from 'escape-html';
import type { FastifyReply } from 'fastify';

const STYLE = `
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--paper:#fff;--ground:#f3f5f8;--line:#d9dfe7;--field:#8792a2;--accent:#1f5fd0;--on-accent:#fff;--problem:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e8ecf2;--dim:#a3adbb;--paper:#1b2028;--ground:#11151b;--line:#303846;--field:#6d788a;--accent:#8ab4ff;--on-accent:#0d1420;--problem:#ffb4ab}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);font:1.0625rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:26rem;padding:2rem;background:var(--paper);border:1px solid var(--line);border-radius:1rem}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}
p{margin:0 0 1.5rem;color:var(--dim);overflow-wrap:anywhere}
.product{margin:0 0 1.25rem;font-weight:600;color:var(--ink)}
.problem{margin:.5rem 0 0;color:var(--problem)}
form{margin:0}
label{display:block;margin:0 0 .375rem;font-weight:600}
input{width:100%;min-height:3rem;padding:.625rem .75rem;border:1px solid var(--field);border-radius:.625rem;background:var(--paper);color:var(--ink);font:inherit}
button,.button{display:block;width:100%;min-height:3rem;padding:.75rem 1rem;border:0;border-radius:.625rem;background:var(--accent);color:var(--on-accent);font:inherit;line-height:1.5rem;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}
label~button{margin-top:1.25rem}
form+form{margin-top:.75rem}
button.quiet{border:1px solid var(--field);background:none;color:var(--ink)}
button:hover,.button:hover{filter:brightness(1.08)}
ul{list-style:none;margin:1.25rem 0 0;padding:0;display:grid;gap:.5rem}
.link{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** What a page may load and where it may lead: nothing but its own style, and to itself. */
const CONTENT_POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`;

/** The headers of every page: what its address holds goes nowhere else. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-robots-tag': 'noindex',
};

/**
 * A whole page.
 *
 * @param actions HTML, below the text: what can be done here. Its addresses are relative to the page's own,
 *   because a proxy may serve us under a path that we do not see.
 */
export function page(heading: string, text: string, actions: string): string {
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
<p class="product">Waybill</p>
<h1>${escapeHtml(heading)}</h1>
<p>${escapeHtml(text)}</p>
${actions}
</main>
</body>
</html>
`;
}

/**
 * Asks for the address that a link is to be mailed to, at the address `new` beside the page's own.
 *
 * @param email what was given before, and `problem` what was wrong with it.
 */
export function addressForm(label: string, email = '', problem?: string): string {
  const field = `<input type="email" id="email" name="email" value="${escapeHtml(email)}" required maxlength="254" autocomplete="email"`;
  return `<form method="post" action="new">
<label for="email">E-mail address</label>
${field}${describedBy(problem)}>${problemLine(problem)}
<button type="submit">${escapeHtml(label)}</button>
</form>`;
}

/** Attributes of a field that has a problem, which {@link problemLine} tells. */
export function describedBy(problem: string | undefined): string {
  return problem === undefined ? '' : ' aria-invalid="true" aria-describedby="problem"';
}

/** What is wrong with a field, below it. */
export function problemLine(problem: string | undefined): string {
  return problem === undefined ? '' : `\n<p class="problem" id="problem" role="alert">${escapeHtml(problem)}</p>`;
}

/** A link that looks like a button. */
export function linkButton(href: string, label: string): string {
  return `<a class="button" href="${escapeHtml(href)}">${escapeHtml(label)}</a>`;
}

/** A link among the text, or below the buttons. */
export function textLink(href: string, label: string): string {
  return `<a class="link" href="${escapeHtml(href)}">${escapeHtml(label)}</a>`;
}

/** Gives a reply its status and the headers of a page. @returns the page, for the controller to return. */
export function sendPage(reply: FastifyReply, status: number, html: string, contentPolicy = CONTENT_POLICY): string {
  reply.code(status).headers({ ...HEADERS, 'content-security-policy': contentPolicy });
  return html;
}
