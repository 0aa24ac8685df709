import escapeHtml from 'escape-html';
import { MAX_NAME } from './sessions.js';

/** The form that asks for the password; without scripts it works as well. */
export function logInPage({ next, problem, name = '' }: { next: string; problem?: string; name?: string }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in · Waybill console</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/console.css">
<script src="/assets/log-in.js" defer></script>
</head>
<body class="log-in">
<main>
<p class="brand"><img src="/assets/icon.svg" alt="" width="22" height="22"> Waybill</p>
<h1>Console</h1>
<form method="post" action="/login">
<input type="hidden" name="next" value="${escapeHtml(next)}">
${problem === undefined ? '' : `<p class="problem" role="alert">${escapeHtml(problem)}</p>`}
<label>User name <input name="username" value="operator" autocomplete="username" autocapitalize="none" spellcheck="false" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required autofocus></label>
<label>Your name <span class="dim">(optional; recorded beside what you do)</span>
<input name="name" value="${escapeHtml(name)}" maxlength="${MAX_NAME}" autocomplete="name"></label>
<button class="primary">Log in</button>
</form>
</main>
</body>
</html>
`;
}

/** The document that the page's script fills. */
export const SHELL = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Waybill console</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/console.css">
<script src="/assets/console.js" defer></script>
</head>
<body>
<div id="console"></div>
<noscript>This page needs scripts. <code>make tasks</code> does the same on a command line.</noscript>
</body>
</html>
`;
