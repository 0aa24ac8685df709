import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import { linkHtml, mailHtml } from './mail-html.js';

/** The mail that carries the link for a new password, to whoever has the account: its username is the reader's own. */
export function passwordResetMail(owner: { email: string; username: string }, link: string): Omit<Mail, 'messageId'> {
  return {
    to: owner.email,
    subject: 'Choose a new password',
    text: `Hello ${owner.username},

somebody, you we hope, has asked for a new password for your Waybill account ${owner.username}. Choose it by opening this link:

${link}

It works once, for 15 minutes. If it was not you, ignore this mail: your password stays as it is.
`,
    html: mailHtml(`    <p>Hello ${escapeHtml(owner.username)},</p>
    <p>somebody, you we hope, has asked for a new password for your Waybill account <strong>${escapeHtml(owner.username)}</strong>:</p>
${linkHtml(link, 'Choose a new password')}
    <p>It works once, for 15 minutes. If it was not you, ignore this mail: your password stays as it is.</p>`),
  };
}
