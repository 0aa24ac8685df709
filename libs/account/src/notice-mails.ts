import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import { linkHtml, mailHtml } from './mail-html.js';

/** What an owner is told of. */
export type NoticeKind = 'password_reset' | 'password_changed' | 'session_revoked' | 'email_changed' | 'account_deleted';

/** A notice as it is kept until it is sent. */
interface Notice {
  readonly kind: string;
  readonly email: string;
  /** Of the account that it is about, which is or was the reader's own. */
  readonly username: string;
}

/** What a mail says, a paragraph each. */
interface NoticeText {
  readonly subject: string;
  readonly paragraphs: readonly string[];
  /** What the button of the notice's link says, which stands below the paragraphs. */
  readonly action?: string;
}

/** Where the links of a mail lead. */
interface NoticeLinks {
  /** The address of our pages. */
  readonly publicUrl: string;
  /** That of the notice's own link, where it has one. */
  readonly own: string | undefined;
}

const TEXTS: Readonly<Record<NoticeKind, (username: string, publicUrl: string) => NoticeText>> = {
  password_reset: (username, publicUrl) => ({
    subject: 'Your password was changed',
    paragraphs: [
      `your Waybill account ${username} has a new password, which was chosen by a link that we mailed to you. Wherever the account was logged in, it is no more.`,
      `If it was not you, somebody else reads your mail: secure your mailbox first, and then choose another password at ${publicUrl}/reset-password/new.`,
    ],
  }),
  password_changed: (username, publicUrl) => ({
    subject: 'Your password was changed',
    paragraphs: [
      `your Waybill account ${username} has a new password, which was chosen by somebody who is logged in and gave the old one. Wherever else the account was logged in, it is no more.`,
      `If it was not you, choose another password at ${publicUrl}/reset-password/new: that ends all sessions.`,
    ],
  }),
  session_revoked: (username, publicUrl) => ({
    subject: 'You were logged out, for safety',
    paragraphs: [
      `a session of your Waybill account ${username} was continued twice with the same secret. One of the two may have stolen it, so the session has ended. Your other sessions go on.`,
      `Log in again where you were logged out. If this happens once more, choose another password at ${publicUrl}/reset-password/new: that ends all sessions.`,
    ],
  }),
  email_changed: (username) => ({
    subject: 'The e-mail address of your account was changed',
    paragraphs: [
      `your Waybill account ${username} has another e-mail address from now on, and mails about it go there.`,
      'If it was not you, take your address back, within 7 days: all sessions end, the password is void, and we mail you a link for a new one.',
    ],
    action: 'Take my address back',
  }),
  account_deleted: (username) => ({
    subject: 'Your account was deleted',
    paragraphs: [
      `your Waybill account ${username} is deleted, with everything in it, as you have asked for with its password. This is the last mail about it.`,
      'If it was not you, somebody else knew your password: change it wherever else you use it.',
    ],
  }),
};

/** The mail of a notice. @throws Error for a kind that this release does not know. */
export function noticeMail({ kind, email, username }: Notice, { publicUrl, own }: NoticeLinks): Omit<Mail, 'messageId'> {
  if (!Object.hasOwn(TEXTS, kind)) throw new Error(`no notice of the kind ${kind} is known`);
  const { subject, paragraphs, action } = TEXTS[kind as NoticeKind](username, publicUrl);
  const all = [`Hello ${username},`, ...paragraphs];
  const [link, button] = own !== undefined && action !== undefined ? [[own], [linkHtml(own, action)]] : [[], []];
  return {
    to: email,
    subject,
    text: `${[...all, ...link].join('\n\n')}\n`,
    html: mailHtml([...all.map((paragraph) => `    <p>${escapeHtml(paragraph)}</p>`), ...button].join('\n')),
  };
}
