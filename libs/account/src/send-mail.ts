import { faultPoint } from '@app/faults';
import { type Mail, type Mailer, MailerBusy, MailRefused } from '@app/mail';
import { RetryIn, SkipRetry, type TaskContext } from '@app/tasks';

/**
 * Sends the one mail of a task: under the same Message-ID in every attempt.
 *
 * @param publicUrl the address of our pages, whose host the Message-ID has.
 * @throws SkipRetry when the mail server refused it for good; RetryIn when other mails were before it. Whatever else is thrown may pass.
 */
export async function sendMail(mailer: Mailer, publicUrl: string, task: TaskContext, mail: Omit<Mail, 'messageId'>): Promise<void> {
  await faultPoint('mail.before-send');
  try {
    await mailer.send({ ...mail, messageId: `<${task.id}@${new URL(publicUrl).hostname}>` }, task.signal);
  } catch (error) {
    if (error instanceof MailRefused) throw new SkipRetry(error.message, { cause: error });
    // Nothing is wrong with this mail: others were before it.
    if (error instanceof MailerBusy) throw new RetryIn('15s', error.message);
    throw error;
  }
}
