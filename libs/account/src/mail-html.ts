import escapeHtml from 'escape-html';

/** A mail as HTML: short, and like every other one. */
export function mailHtml(content: string): string {
  return `<!doctype html>
<html lang="en">
  <body style="font-family: system-ui, sans-serif; line-height: 1.5; max-width: 32rem; margin: 0 auto; padding: 1rem">
${content}
  </body>
</html>
`;
}

/** A link that looks like a button, and once more as text for whoever is shown no buttons. */
export function linkHtml(link: string, label: string): string {
  const escaped = escapeHtml(link);
  return `    <p><a href="${escaped}" style="display: inline-block; padding: .6rem 1.2rem; border-radius: .4rem; background: #1d4ed8; color: #fff; text-decoration: none">${label}</a></p>
    <p>or open this link:<br><a href="${escaped}" style="overflow-wrap: anywhere">${escaped}</a></p>`;
}
