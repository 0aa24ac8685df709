import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import { linkHtml, mailHtml } from './mail-html.js';

/**
 * The mail that carries the link to an account's new address. Nothing in it was
 * chosen by whoever asked, who may have us write to a stranger.
 */
export function emailChangeMail(address: string, link: string): Omit<Mail, 'messageId'> {
  return {
    to: address,
    subject: 'Confirm your new e-mail address',
    text: `Hello,

please confirm that this is to be the new e-mail address of your Waybill account by opening this link:

${link}

It works for 15 minutes. If you have not asked for it, ignore this mail, or choose "This was not me" on the page of the link.
`,
    html: mailHtml(`    <p>Hello,</p>
    <p>please confirm that this is to be the new e-mail address of your Waybill account:</p>
${linkHtml(link, 'Confirm new e-mail address')}
    <p>It works for 15 minutes. If you have not asked for it, ignore this mail, or choose “This was not me” on the page of the link.</p>`),
  };
}

/** What the owner of an address is told when another account is to have it. The username is the owner's own. */
export function addressWantedMail(owner: { email: string; username: string }): Omit<Mail, 'messageId'> {
  const username = escapeHtml(owner.username);
  return {
    to: owner.email,
    subject: 'Somebody tried to use your e-mail address',
    text: `Hello ${owner.username},

somebody tried to give another Waybill account your e-mail address. It belongs to your account ${owner.username}, and nothing has changed.

If it was you, change the address of ${owner.username} first. If it was not, there is nothing to do.
`,
    html: mailHtml(`    <p>Hello ${username},</p>
    <p>somebody tried to give another Waybill account your e-mail address. It belongs to your account <strong>${username}</strong>, and nothing has changed.</p>
    <p>If it was you, change the address of ${username} first. If it was not, there is nothing to do.</p>`),
  };
}
