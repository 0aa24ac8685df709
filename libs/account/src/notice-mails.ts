import type { Mail } from '@app/mail';
import escapeHtml from 'escape-html';
import { mailHtml } from './mail-html.js';

/** What an owner is told of. */
export type NoticeKind = 'password_reset';

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
}

const TEXTS: Readonly<Record<NoticeKind, (username: string, publicUrl: string) => NoticeText>> = {
  password_reset: (username, publicUrl) => ({
    subject: 'Your password was changed',
    paragraphs: [
      `your Waybill account ${username} has a new password, which was chosen by a link that we mailed to you. Wherever the account was logged in, it is no more.`,
      `If it was not you, somebody else reads your mail: secure your mailbox first, and then choose another password at ${publicUrl}/reset-password/new.`,
    ],
  }),
};

/** The mail of a notice. @throws Error for a kind that this release does not know. */
export function noticeMail({ kind, email, username }: Notice, publicUrl: string): Omit<Mail, 'messageId'> {
  if (!Object.hasOwn(TEXTS, kind)) throw new Error(`no notice of the kind ${kind} is known`);
  const { subject, paragraphs } = TEXTS[kind as NoticeKind](username, publicUrl);
  const all = [`Hello ${username},`, ...paragraphs];
  return {
    to: email,
    subject,
    text: `${all.join('\n\n')}\n`,
    html: mailHtml(all.map((paragraph) => `    <p>${escapeHtml(paragraph)}</p>`).join('\n')),
  };
}
