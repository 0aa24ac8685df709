/** One message to one person. */
export interface Mail {
  to: { name: string; address: string };
  subject: string;
  text: string;
  html: string;
  /** Tells a mail server and a reader that two copies are one mail: the same for every attempt. */
  messageId: string;
}

/** The mail server refused this mail for good (SMTP 5xx): sending it again cannot help. */
export class MailRefused extends Error {
  override readonly name = 'MailRefused';
}

/** Sends mail. A test replaces it, or the server behind it. */
export abstract class Mailer {
  /**
   * Resolves once the mail server has accepted the mail.
   *
   * @throws MailRefused when the server refused it for good; any other error may pass.
   */
  abstract send(mail: Mail, signal?: AbortSignal): Promise<void>;
}
