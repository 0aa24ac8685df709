/** One message to one person. */
export interface Mail {
  /** The person's address, alone. */
  to: string;
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

/** Every connection to the mail server was busy for too long: nothing was handed over, and the mail may be sent later. */
export class MailerBusy extends Error {
  override readonly name = 'MailerBusy';

  /** @param waited milliseconds. */
  constructor(waited: number) {
    super(`no connection to the mail server was free within ${waited} ms`);
  }
}

/** Sends mail. A test replaces it, or the server behind it. */
export abstract class Mailer {
  /**
   * Resolves once the mail server has accepted the mail. Once it has rejected, the
   * mail does not go out any more, unless the server already had all of it.
   *
   * @param signal ends the attempt, whether it waits or is under way; rejects with the signal's reason.
   * @throws MailRefused when the server refused it for good.
   * @throws MailerBusy when no connection was free in time; any other error may pass too.
   */
  abstract send(mail: Mail, signal?: AbortSignal): Promise<void>;
}
