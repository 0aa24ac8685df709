import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import type { User } from './user.entity.js';

/** The mail that carries the verification link, as text and as HTML. */
export function verificationMail(user: Pick<User, 'username' | 'fullName' | 'email'>, link: string): Omit<Mail, 'messageId'> {
  return {
    to: { name: user.fullName, address: user.email },
    subject: 'Confirm your e-mail address',
    text: `Hello ${user.fullName},

please confirm the e-mail address of your Waybill account ${user.username} by opening this link:

${link}

It works for 15 minutes. If you did not sign up, ignore this mail.
`,
    html: `<!doctype html>
<html lang="en">
  <body style="font-family: system-ui, sans-serif; line-height: 1.5; max-width: 32rem; margin: 0 auto; padding: 1rem">
    <p>Hello ${escapeHtml(user.fullName)},</p>
    <p>please confirm the e-mail address of your Waybill account ${escapeHtml(user.username)}:</p>
    <p><a href="${escapeHtml(link)}" style="display: inline-block; padding: .6rem 1.2rem; border-radius: .4rem; background: #1d4ed8; color: #fff; text-decoration: none">Confirm e-mail address</a></p>
    <p>or open this link:<br><a href="${escapeHtml(link)}" style="overflow-wrap: anywhere">${escapeHtml(link)}</a></p>
    <p>It works for 15 minutes. If you did not sign up, ignore this mail.</p>
  </body>
</html>
`,
  };
}
