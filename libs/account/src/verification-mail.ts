import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import { linkHtml, mailHtml } from './mail-html.js';

/**
 * The mail that carries the verification link, as text and as HTML.
 *
 * Nothing in it was chosen by whoever signed up, who may be a stranger that has us
 * write to somebody else. The page of the link names the account.
 */
export function verificationMail(address: string, link: string): Omit<Mail, 'messageId'> {
  return {
    to: address,
    subject: 'Confirm your e-mail address',
    text: `Hello,

please confirm the e-mail address of your Waybill account by opening this link:

${link}

It works for 15 minutes. If you did not sign up, ignore this mail, or choose "This was not me" on the page of the link.
`,
    html: mailHtml(`    <p>Hello,</p>
    <p>please confirm the e-mail address of your Waybill account:</p>
${linkHtml(link, 'Confirm e-mail address')}
    <p>It works for 15 minutes. If you did not sign up, ignore this mail, or choose “This was not me” on the page of the link.</p>`),
  };
}

/** What the owner of an address is told when somebody signs up with it. The username is the owner's own. */
export function addressInUseMail(owner: { email: string; username: string }): Omit<Mail, 'messageId'> {
  const username = escapeHtml(owner.username);
  return {
    to: owner.email,
    subject: 'Somebody tried to sign up with your e-mail address',
    text: `Hello ${owner.username},

somebody tried to sign up for Waybill with your e-mail address. You have the account ${owner.username} already, and nothing has changed: the new sign-up cannot be verified, and is deleted after a day.

If it was you, use the account ${owner.username}. If it was not, there is nothing to do.
`,
    html: mailHtml(`    <p>Hello ${username},</p>
    <p>somebody tried to sign up for Waybill with your e-mail address. You have the account <strong>${username}</strong> already, and nothing has changed: the new sign-up cannot be verified, and is deleted after a day.</p>
    <p>If it was you, use the account ${username}. If it was not, there is nothing to do.</p>`),
  };
}
