import type { Mail } from '@app/mail';
import type { User } from './user.entity.js';

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (character) => ESCAPES[character]!);

/** The mail that carries the verification link, as text and as HTML. */
export function verificationMail(user: Pick<User, 'fullName' | 'email'>, link: string): Omit<Mail, 'messageId'> {
  return {
    to: { name: user.fullName, address: user.email },
    subject: 'Confirm your e-mail address',
    text: `Hello ${user.fullName},

please confirm your e-mail address by opening this link:

${link}

It can be used once, within 15 minutes. If you did not sign up, ignore this mail.
`,
    html: `<!doctype html>
<html lang="en">
  <body style="font-family: system-ui, sans-serif; line-height: 1.5; max-width: 32rem; margin: 0 auto; padding: 1rem">
    <p>Hello ${escapeHtml(user.fullName)},</p>
    <p>please confirm your e-mail address:</p>
    <p><a href="${escapeHtml(link)}" style="display: inline-block; padding: .6rem 1.2rem; border-radius: .4rem; background: #1d4ed8; color: #fff; text-decoration: none">Confirm e-mail address</a></p>
    <p>The link can be used once, within 15 minutes. If you did not sign up, ignore this mail.</p>
  </body>
</html>
`,
  };
}
